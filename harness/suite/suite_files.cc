// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "engine/base/utf8.h"
#include "harness/suite/suite_spec.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr size_t kLongestAssignment = 16 << 10;  // bounds how deep its JSON can nest

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

// The value as JSON when it is JSON, else as text: `steps=4` is a number, `model=/data/wan` a string.
nlohmann::json parse_value(std::string_view text) {
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  return value.is_discarded() ? nlohmann::json(std::string(text)) : value;
}

bool is_index(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

nlohmann::json& child(nlohmann::json& node, const std::string& key, std::string_view assignment) {
  if (node.is_array()) {
    if (!is_index(key) || std::stoul(key) >= node.size()) {
      throw ConfigError("--set",
                        fmt::format("\"{}\": \"{}\" is not an index into a list of {}", assignment, key, node.size()));
    }
    return node[std::stoul(key)];
  }
  if (!node.is_object() && !node.is_null()) {
    throw ConfigError("--set", fmt::format("\"{}\": \"{}\" leads into something that is no object", assignment, key));
  }
  return node[key];
}

}  // namespace

fs::path suites_dir() {
  const char* dir = std::getenv("VORTA_DATA_DIR");
  return dir != nullptr && *dir != '\0' ? fs::path(dir) / "suites" : fs::path(VORTA_SUITES_DIR);
}

std::vector<fs::path> suite_files() {
  std::vector<fs::path> files;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(suites_dir(), code)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".json" && name.find(".schema.") == std::string::npos) {
      files.push_back(entry.path());
    }
  }
  if (code) throw DataError(suites_dir().string(), "the folder of suites cannot be listed: " + code.message());
  std::sort(files.begin(), files.end());
  return files;
}

fs::path find_suite(std::string_view name_or_file) {
  const fs::path direct{name_or_file};
  std::error_code code;
  const bool looks_like_file = direct.extension() == ".json" || direct.has_parent_path();
  if (looks_like_file) {
    if (!fs::exists(direct, code)) throw ConfigError("--suite", fmt::format("no such file: {}", name_or_file));
    return direct;
  }
  std::vector<std::string> known;
  for (const auto& file : suite_files()) {
    if (file.stem() == name_or_file) return file;
    known.push_back(file.stem().string());
  }
  throw ConfigError("--suite", unknown_name_message("suite", name_or_file, std::move(known)));
}

fs::path shape_folder(std::string_view model) {
  const fs::path name{model};
  std::error_code ignored;
  if (model.empty() || name.has_parent_path() || name.is_absolute() || model.front() == '.') return {};
  const fs::path folder = suites_dir() / "shapes" / name;
  return fs::is_regular_file(folder / "model_index.json", ignored) ? folder : fs::path();
}

bool is_about_quality(std::string_view quantity) {
  for (const std::string_view prefix : {"speedup/", "seconds/", "ratio/", "peak/"}) {
    if (quantity.starts_with(prefix)) return false;
  }
  return true;
}

std::vector<std::string> use_random_weights(nlohmann::json& suite) {
  if (!suite.is_object()) throw ConfigError("--random-weights", "the suite is not a JSON object");
  suite["weights"] = "random";
  suite["output"] = "latents";
  suite["metrics"] = nlohmann::json::array();
  std::vector<std::string> gone;
  if (!suite.contains("claims") || !suite["claims"].is_array()) return gone;
  nlohmann::json kept = nlohmann::json::array();
  for (const nlohmann::json& claim : suite["claims"]) {
    const bool is_quality = claim.is_object() && claim.contains("quantity") && claim["quantity"].is_string() &&
                            is_about_quality(claim["quantity"].get_ref<const std::string&>());
    if (is_quality) gone.push_back(claim.value("key", "?"));
    else kept.push_back(claim);
  }
  suite["claims"] = std::move(kept);
  return gone;
}

void apply_override(nlohmann::json& suite, std::string_view assignment) {
  if (assignment.size() > kLongestAssignment) {
    throw ConfigError("--set",
                      fmt::format("expected at most {} bytes, found {}", kLongestAssignment, assignment.size()));
  }
  if (!is_utf8(assignment)) throw ConfigError("--set", "expected UTF-8 text, found bytes that are not UTF-8");
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw ConfigError("--set", fmt::format("expected key=value, found \"{}\"", assignment));
  }
  if (!suite.is_object()) throw ConfigError("--set", "the suite is not a JSON object");
  std::vector<std::string> path = split(assignment.substr(0, equals), '.');
  static const std::vector<std::string> kBaseKeys{
      "frames", "height", "width",       "steps",   "guidance",     "flow_shift",    "sampler",    "dtype",
      "device", "fps",    "timed_steps", "offload", "quantization", "true_guidance", "cuda_graphs"};
  if (std::find(kBaseKeys.begin(), kBaseKeys.end(), path.front()) != kBaseKeys.end()) path.insert(path.begin(), "base");
  nlohmann::json* node = &suite;
  for (const std::string& key : path) node = &child(*node, key, assignment);
  *node = parse_value(assignment.substr(equals + 1));
}

}  // namespace vorta::harness
