// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>

#include "engine/base/error.h"
#include "engine/pipeline/model_folder.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;

const fs::path kGolden = fs::path(VORTA_SOURCE_DIR) / "tests/golden/pipeline";

fs::path empty_folder(const std::string& name) {
  const fs::path dir = fs::temp_directory_path() / ("vorta-model-folder-" + name);
  fs::remove_all(dir);
  fs::create_directories(dir);
  return dir;
}

TEST_CASE("a diffusers folder opens and finds the routers beside it", "[pipeline][folder]") {
  CHECK(open_model_folder(kGolden / "model").pipeline_class == "WanPipeline");
  CHECK(find_bundled_routers(kGolden / "model") == fs::canonical(kGolden / "routers"));
}

TEST_CASE("what is missing in a model folder is named", "[pipeline][folder]") {
  CHECK_THROWS_WITH(open_model_folder("/no/such/folder"), Contains("no folder"));
  const fs::path dir = empty_folder("missing");
  CHECK_THROWS_WITH(open_model_folder(dir), Contains("model_index.json"));
  std::ofstream(dir / "model_index.json") << R"({"_class_name": "FluxPipeline"})";
  CHECK_THROWS_WITH(open_model_folder(dir), Contains("FluxPipeline") && Contains("WanPipeline"));
  fs::copy_file(kGolden / "model/model_index.json", dir / "model_index.json", fs::copy_options::overwrite_existing);
  CHECK_THROWS_WITH(open_model_folder(dir), Contains("scheduler_config.json"));
}

TEST_CASE("defaults are Wan's unless the folder brings its own", "[pipeline][folder]") {
  const fs::path dir = empty_folder("defaults");
  CHECK(read_generation_defaults(dir) == GenerationDefaults{});
  std::ofstream(dir / "vorta_defaults.json") << R"({"frames": 45, "guidance": 4.0, "flow_shift": 3})";
  const GenerationDefaults defaults = read_generation_defaults(dir);
  CHECK(defaults.frames == 45);
  CHECK(defaults.guidance == 4.0);
  CHECK(defaults.flow_shift == 3.0);
  CHECK(defaults.steps == 50);
  CHECK(defaults.max_sequence_length == 512);
  std::ofstream(dir / "vorta_defaults.json") << R"({"frame": 45})";
  CHECK_THROWS_WITH(read_generation_defaults(dir), Contains("frame") && Contains("frames"));
}

}  // namespace
}  // namespace vorta::engine
