// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor_map.h"

namespace vorta::metrics {

/// One file that the user supplies.
struct WeightFile {
  std::string_view name;     // "dino_vitb16"
  std::string_view path;     // below the root, as VBench lays it out: "dino_model/dino_vitbase16_pretrain.pth"
  std::string_view elsewhere;  // where VBench's non-local mode keeps it, below the home folder; "" when nowhere
  std::string_view url;      // where VBench gets it
  std::string_view licence;
  std::string_view container;  // the key of the state dict in the file ("model"), "" when the file is the dict
  std::string_view sha256;     // of the official file, or the first digits that are known; "" when none is
  bool bundled = false;  // comes with this program: `path` is below suites/embedded/scorers, not below the user's root
};

std::span<const WeightFile> weight_files();
const WeightFile& find_weight_file(std::string_view name);

/// A state dict as it was found.
struct LoadedWeights {
  engine::TensorMap tensors;  // names as in the module's state_dict(), without "module."
  std::string source;  // path
  std::string sha256;  // of the file
  bool official = false;  // its hash is known and agrees; false also when no official hash is known
};

/// Finds the files of weight_files(). Looks only; names and shapes are audited by the network that takes the tensors
/// (engine::WeightReader: every tensor, exact shapes, nothing left over).
class ScorerWeights {
 public:
  explicit ScorerWeights(std::filesystem::path root) : ScorerWeights(std::move(root), bundled_root()) {}
  ScorerWeights(std::filesystem::path root, std::filesystem::path bundled)
      : root_(std::move(root)), bundled_(std::move(bundled)) {}
  /// suites/embedded/scorers under $VORTA_DATA_DIR when that is set, else in the source tree this program was built
  /// from.
  static std::filesystem::path bundled_root();
  /// $VBENCH_CACHE_DIR, else ~/.cache/vbench.
  static ScorerWeights from_environment();

  const std::filesystem::path& root() const { return root_; }
  /// <path>.safetensors (the converter's) beside the official file first, then the official file, then `elsewhere`.
  std::optional<std::filesystem::path> find(std::string_view name) const;
  std::vector<std::string_view> missing(std::span<const std::string_view> names) const;
  /// A line for the user: what, where it belongs, where VBench gets it, its licence.
  std::string how_to_get(std::string_view name) const;

  /// Path and hash (computed once) without the tensors. @throws as load.
  LoadedWeights identify(std::string_view name) const;
  /// @throws MachineError with how_to_get when the file is missing; DataError when it cannot be read.
  LoadedWeights load(std::string_view name) const;

 private:
  std::filesystem::path path_of(const WeightFile& file) const;

  std::filesystem::path root_, bundled_;
  mutable std::map<std::string, std::string> hashes_;  // by path: several dimensions share a file of a gigabyte
};

}  // namespace vorta::metrics
