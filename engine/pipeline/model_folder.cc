// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/model_folder.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/pipeline/pipeline_family.h"

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;

int64_t positive_integer(ObjectReader& reader, std::string_view key, int64_t fallback) {
  const int64_t value = reader.integer(key, fallback);
  if (value < 1) reader.fail(key, fmt::format("expected a positive integer, found {}", value));
  return value;
}

double finite_number(ObjectReader& reader, std::string_view key, double fallback) {
  const double value = reader.number(key, fallback);
  if (!std::isfinite(value) || value < 0) reader.fail(key, fmt::format("expected a number >= 0, found {}", value));
  return value;
}

/// One component of model_index.json is ["library", "Class"], or [null, null] for an absent one.
std::string component_class(ObjectReader& reader, std::string_view key) {
  const nlohmann::json* entry = reader.value(key);
  if (entry == nullptr) return "";
  const bool is_pair = entry->is_array() && entry->size() == 2;
  if (!is_pair) reader.fail(key, "expected [\"library\", \"Class\"]");
  return (*entry)[1].is_string() ? (*entry)[1].get<std::string>() : "";
}

void require_file(const fs::path& path, std::string_view why) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored))
    throw DataError(path.string(), fmt::format("expected {}, found no file", why));
}

void check_components(ObjectReader& reader, const PipelineFamily& family) {
  for (const PipelinePart& part : family.parts) {
    const std::string name = component_class(reader, part.key);
    if (name.empty()) reader.fail(part.key, "a text-to-video pipeline needs this part");
    if (!part.class_name.empty() && name != part.class_name) {
      reader.fail(part.key, fmt::format("expected {}, found {}", part.class_name, name));
    }
  }
  for (std::string_view key : {"image_encoder", "image_processor"}) {
    const std::string name = component_class(reader, key);
    if (!name.empty()) reader.fail(key, fmt::format("expected none, found {}: image-to-video is not done here", name));
  }
}

bool is_model(const fs::path& dir) {
  std::error_code ignored;
  return fs::is_regular_file(dir / "model_index.json", ignored);
}

std::vector<fs::path> embedded_candidates() {
  std::vector<fs::path> roots;
  // The data of an installed copy; the only environment variable the engine reads.
  if (const char* dir = std::getenv("VORTA_DATA_DIR"); dir != nullptr && *dir != '\0') roots.emplace_back(dir);
  std::error_code ignored;
  fs::path above = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (int level = 0; level < 4 && above.has_relative_path(); ++level, above = above.parent_path()) {
    roots.push_back(above);
  }
  roots.emplace_back(VORTA_SOURCE_ROOT);
  std::vector<fs::path> out;
  for (const fs::path& root : roots) {
    out.push_back(root / "suites" / "embedded");
    out.push_back(root / "suites" / "embedded" / "model");
  }
  return out;
}

}  // namespace

GenerationDefaults read_generation_defaults(const fs::path& model_dir) {
  std::error_code ignored;
  GenerationDefaults defaults;
  if (fs::is_regular_file(model_dir / "model_index.json", ignored))
    defaults = find_pipeline_family(model_dir).defaults();
  const fs::path path = model_dir / "vorta_defaults.json";
  if (!fs::exists(path, ignored)) return defaults;
  const nlohmann::json json = read_json_file(path);
  ObjectReader reader(json, path.string() + "#");
  defaults.frames = positive_integer(reader, "frames", defaults.frames);
  defaults.height = positive_integer(reader, "height", defaults.height);
  defaults.width = positive_integer(reader, "width", defaults.width);
  defaults.steps = positive_integer(reader, "steps", defaults.steps);
  defaults.max_sequence_length = positive_integer(reader, "max_sequence_length", defaults.max_sequence_length);
  defaults.guidance = finite_number(reader, "guidance", defaults.guidance);
  defaults.fps = finite_number(reader, "fps", defaults.fps);
  if (reader.has("flow_shift")) defaults.flow_shift = reader.number("flow_shift");
  reader.finish();
  return defaults;
}

ModelFolder open_model_folder(const fs::path& dir, TextSource text) {
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) {
    throw DataError(dir.string(), "expected a folder with a diffusers pipeline (model_index.json), found no folder");
  }
  const fs::path index = dir / "model_index.json";
  require_file(index, "the index of a diffusers pipeline");
  const nlohmann::json json = read_json_file(index);
  const std::string where = index.string() + "#";
  ObjectReader reader(json, where);
  ModelFolder folder;
  folder.root = dir;
  const PipelineFamily& family = find_pipeline_family(dir);
  folder.pipeline_class = family.name;
  check_components(reader, family);
  folder.scheduler_config = dir / "scheduler" / "scheduler_config.json";
  folder.transformer = dir / "transformer";
  folder.vae = dir / "vae";
  require_file(folder.scheduler_config, "the scheduler's configuration");
  require_file(folder.transformer / "config.json", "the transformer's configuration");
  require_file(folder.vae / "config.json", "the VAE's configuration");
  if (text == TextSource::kGiven) return folder;
  for (const PipelinePart& part : family.parts) {
    if (part.key.starts_with("text_encoder"))
      require_file(dir / part.key / "config.json", "a text encoder's configuration");
  }
  return folder;
}

fs::path find_bundled_routers(const fs::path& model_dir) {
  std::error_code ignored;
  const fs::path whole = fs::weakly_canonical(model_dir, ignored);
  for (const fs::path& dir : {whole / "routers", whole.parent_path() / "routers"}) {
    if (fs::is_regular_file(dir / "config.json", ignored)) return dir;
  }
  return {};
}

fs::path find_embedded_model() {
  std::string looked;
  for (const fs::path& dir : embedded_candidates()) {
    if (is_model(dir)) return dir;
    looked += "\n  " + dir.string();
  }
  throw DataError("embedded model",
                  "expected model_index.json in one of these folders (or give --model DIR):" + looked);
}

}  // namespace vorta::engine
