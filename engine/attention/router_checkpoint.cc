// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/attention/router.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;

/// "step-000100" -> 100.
std::optional<int64_t> step_number(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix) || name.size() == kPrefix.size() || name.size() > kPrefix.size() + 12) return {};
  const std::string digits = name.substr(kPrefix.size());
  if (!std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return c >= '0' && c <= '9'; })) return {};
  return std::stoll(digits);
}

/// Folders `ckpt/step-*` that hold a router.pt, by step.
std::vector<std::pair<int64_t, fs::path>> list_steps(const fs::path& exp_dir) {
  std::vector<std::pair<int64_t, fs::path>> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(exp_dir / "ckpt", error)) {
    const auto step = step_number(entry.path().filename().string());
    if (step && fs::is_regular_file(entry.path() / "router.pt", error)) steps.emplace_back(*step, entry.path());
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string describe(const std::vector<std::pair<int64_t, fs::path>>& steps) {
  if (steps.empty()) return "no ckpt/step-NNNNNN/router.pt is there";
  std::vector<std::string> names;
  for (const auto& [step, path] : steps) names.push_back("ckpt/" + path.filename().string());
  return fmt::format("there are: {}", fmt::join(names, ", "));
}

fs::path choose_step(const fs::path& exp_dir, const std::string& resume) {
  const auto steps = list_steps(exp_dir);
  if (resume == "latest") {
    if (!steps.empty()) return steps.back().second;
    throw DataError(exp_dir.string(), "no router checkpoint: " + describe(steps));
  }
  const fs::path relative = fs::path(resume).lexically_normal();
  for (const fs::path& candidate : {exp_dir / relative, exp_dir / "ckpt" / relative}) {
    std::error_code error;
    if (fs::is_regular_file(candidate / "router.pt", error)) return candidate;
  }
  throw DataError(exp_dir.string(), fmt::format("no router.pt under \"{}\"; {}", resume, describe(steps)));
}

Size3 read_video_size(ObjectReader& reader) {
  constexpr std::string_view kKey = "train_video_size";
  const nlohmann::json* value = reader.value(kKey);
  Size3 size{};
  if (value == nullptr || !value->is_array() || value->size() != 3)
    reader.fail(kKey, "expected [frames, height, width]");
  for (size_t i = 0; i < 3; ++i) {
    if (!(*value)[i].is_number_integer() || (*value)[i].get<int64_t>() < 1) {
      reader.fail(kKey, "expected three positive integers (frames, height, width)");
    }
    size[i] = (*value)[i].get<int64_t>();
  }
  return size;
}

std::string optional_string(ObjectReader& reader, std::string_view key) {
  const nlohmann::json* value = reader.value(key);
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_string()) reader.fail(key, "expected a string or null");
  return value->get<std::string>();
}

}  // namespace

RouterCheckpoint read_router_config(const fs::path& config_json) {
  const nlohmann::json json = read_json_file(config_json);
  const std::string where = config_json.string() + "#";
  ObjectReader reader(json, where);
  RouterCheckpoint checkpoint;
  checkpoint.model_name = reader.string("name");
  checkpoint.pretrained_model_path = optional_string(reader, "pretrained_model_path");
  checkpoint.revision = optional_string(reader, "revision");
  checkpoint.train_video_size = read_video_size(reader);
  const nlohmann::json* kwargs = reader.value("self_attention_kwargs");
  if (kwargs == nullptr || !kwargs->is_object()) reader.fail("self_attention_kwargs", "expected an object");
  checkpoint.geometry = parse_attention_geometry(*kwargs, where + "/self_attention_kwargs");
  reader.finish();
  return checkpoint;
}

void write_router_config(const fs::path& config_json, const RouterCheckpoint& checkpoint) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
  };
  const nlohmann::json json = {{"name", checkpoint.model_name},
                               {"pretrained_model_path", text_or_null(checkpoint.pretrained_model_path)},
                               {"revision", text_or_null(checkpoint.revision)},
                               {"train_video_size", checkpoint.train_video_size},
                               {"self_attention_kwargs", attention_geometry_json(checkpoint.geometry)}};
  write_file_atomically(config_json, json.dump(2) + "\n");
}

RouterCheckpoint open_router_checkpoint(const fs::path& exp_dir, const std::string& resume) {
  RouterCheckpoint checkpoint = read_router_config(exp_dir / "config.json");
  const fs::path step_dir = choose_step(exp_dir, resume);
  checkpoint.router_file = step_dir / "router.pt";
  checkpoint.step = step_number(step_dir.filename().string()).value_or(0);
  return checkpoint;
}

}  // namespace vorta::engine
