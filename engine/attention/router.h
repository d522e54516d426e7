// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/attention/geometry.h"
#include "engine/base/shapes.h"

namespace vorta::engine {

/// Sizes a router set must fit: those of the model it routes.
struct RouterSize {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t embedding = 0;  // M: width of the timestep embedding
  std::vector<std::string> blocks = {};  // a layer's name in the checkpoint; empty: "blocks.0", "blocks.1", ..

  /// "<block>.router.linear.weight", or .bias.
  std::string key(int64_t layer, std::string_view part) const;
};

/// One small linear layer a transformer block: timestep embedding -> scores of the three branches for each head.
/// Published format: `<block>.router.linear.weight` [3N, M] and `.bias` [3N]; output feature 3 * head + branch. Blocks
/// are `blocks.{i}` of Wan, `transformer_blocks.{i}` and then `single_transformer_blocks.{i}` of HunyuanVideo.
class Router {
 public:
  /// Takes `tensors` as they are (same handles, so that a trainer can update them). DataError naming `source` and the
  /// key on missing keys, unknown keys or other shapes.
  Router(const std::map<std::string, at::Tensor>& tensors, std::string source, const RouterSize& size);

  /// embedding [B, M] -> softmax scores [B, N, 3] in the dtype of the weights.
  at::Tensor scores(const at::Tensor& embedding, int64_t layer) const;
  const RouterSize& size() const { return size_; }

  /// A PyTorch Linear's default initialisation: uniform in +-1/sqrt(M).
  static std::map<std::string, at::Tensor> random_weights(const RouterSize& size, at::Generator generator,
                                                          c10::ScalarType dtype);

 private:
  RouterSize size_;
  std::vector<at::Tensor> weights_;  // [3N, M] a layer
  std::vector<at::Tensor> biases_;  // [3N] a layer
};

/// What `<exp_dir>/config.json` says about a router checkpoint, and where its weights lie.
struct RouterCheckpoint {
  std::string model_name;  // class name of the transformer
  std::string pretrained_model_path;  // informative, may be empty
  std::string revision;  // informative, may be empty
  Size3 train_video_size{};  // pixels: frames, height, width
  AttentionGeometry geometry;
  std::filesystem::path router_file;  // <exp_dir>/ckpt/<step>/router.pt; empty in a config that was parsed alone
  int64_t step = 0;
};

/// Parses `<exp_dir>/config.json`; ConfigError with the JSON pointer on a wrong, missing or unknown key.
RouterCheckpoint read_router_config(const std::filesystem::path& config_json);
/// Writes what read_router_config reads.
void write_router_config(const std::filesystem::path& config_json, const RouterCheckpoint& checkpoint);
/// read_router_config and the choice of `resume`: "latest" takes the highest `ckpt/step-NNNNNN`, otherwise a path
/// relative to `<exp_dir>/ckpt`, or to exp_dir itself ("step-000100", "ckpt/step-000100"). DataError lists what is
/// there.
RouterCheckpoint open_router_checkpoint(const std::filesystem::path& exp_dir, const std::string& resume = "latest");

}  // namespace vorta::engine
