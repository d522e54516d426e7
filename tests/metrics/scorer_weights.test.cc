// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/error.h"
#include "metrics/core/scorer_weights.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::metrics;
namespace fs = std::filesystem;

namespace {

const fs::path kCheckpoints = std::string(VORTA_SOURCE_DIR) + "/tests/golden/checkpoints";

void place(const char* checkpoint, const fs::path& target) {
  fs::create_directories(target.parent_path());
  fs::copy_file(kCheckpoints / checkpoint, target);
}

}  // namespace

TEST_CASE("scorer weights are found in VBench's layout, and what is missing says where it is from",
          "[metrics][weights]") {
  const engine::TemporaryFolder folder;
  ::setenv("HOME", (folder / "home").c_str(), 1);
  const ScorerWeights weights(folder / "cache");
  const std::string_view wanted[] = {"viclip", "clip_vitb32"};
  CHECK(weights.missing(wanted).size() == 2);
  place("wrapped.pth", folder / "cache/ViCLIP/ViClip-InternVid-10M-FLT.pth");
  CHECK(weights.missing(wanted) == std::vector<std::string_view>{"clip_vitb32"});
  const std::string help = weights.how_to_get("clip_vitb32");
  CHECK(help.find("clip_model/ViT-B-32.pt") != std::string::npos);
  CHECK(help.find("https://openaipublic.azureedge.net/clip/models/40d365715913") != std::string::npos);
  CHECK(help.find("MIT") != std::string::npos);
  CHECK_THROWS_AS(weights.load("clip_vitb32"), MachineError);
  CHECK_THROWS_AS(weights.find("no such"), ConfigError);
  place("plain.pth", folder / "home/.cache/clip/ViT-B-32.pt");  // where VBench's non-local mode keeps it
  CHECK(weights.missing(wanted).empty());
  CHECK(weights.load("clip_vitb32").tensors.size() == 3);
  CHECK_FALSE(weights.load("clip_vitb32").official);  // its hash is not OpenAI's
}

TEST_CASE("weights that are no numbers are refused by name, infinite masks are not", "[metrics][weights]") {
  const engine::TemporaryFolder folder;
  const ScorerWeights weights(folder / "");
  const auto write = [&](const std::string& bits) {  // one float16 tensor of one element, little-endian
    const std::string header = R"({"a.weight":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})";
    fs::create_directories(folder / "raft_model/models");
    std::ofstream(folder / "raft_model/models/raft-things.pth.safetensors", std::ios::binary)
        << static_cast<char>(header.size()) << std::string(7, '\0') << header << bits;
  };
  write(std::string("\x00\xfc", 2));
  CHECK(weights.load("raft_things").tensors.size() == 1);
  write(std::string("\x00\x7e", 2));
  CHECK_THROWS_WITH(weights.load("raft_things"),
                    Catch::Matchers::Contains("a.weight") && Catch::Matchers::Contains("NaN"));
}

TEST_CASE("a state dict is taken out of its container, without the prefix of DataParallel", "[metrics][weights]") {
  const engine::TemporaryFolder folder;
  const ScorerWeights weights(folder / "");
  place("wrapped.pth", folder / "ViCLIP/ViClip-InternVid-10M-FLT.pth");
  const LoadedWeights loaded = weights.load("viclip");
  CHECK(loaded.tensors.size() == 3);
  CHECK(loaded.tensors.contains("layers.0.weight"));
  CHECK(loaded.sha256.size() == 64);
  CHECK(weights.identify("viclip").sha256 == loaded.sha256);
}
