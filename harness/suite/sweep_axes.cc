// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/sweep_axes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iterator>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

struct AxisKind {
  std::string_view name;
  std::string_view path;  // in a variant
  AxisType type;
  double least = -std::numeric_limits<double>::infinity();  // of numbers
  double most = std::numeric_limits<double>::infinity();
  std::string_view choices = {};  // of kChoice, with a space between
};

constexpr AxisKind kAxes[] = {{"attention", "attention", AxisType::kMethod},
                              {"cache", "cache", AxisType::kMethod},
                              {"cache_interval", "cache.options.interval", AxisType::kInteger, 1},
                              {"cache_threshold", "cache.options.threshold", AxisType::kNumber, 0},
                              {"device", "config.device", AxisType::kChoice, 0, 0, "auto cpu cuda"},
                              {"dtype", "config.dtype", AxisType::kChoice, 0, 0, "float32 bfloat16"},
                              {"flow_shift", "config.flow_shift", AxisType::kNumber, 0, 100},
                              {"frames", "config.frames", AxisType::kInteger, 1, 4096},
                              {"guidance", "config.guidance", AxisType::kNumber, 0, 100},
                              {"height", "config.height", AxisType::kInteger, 8, 16384},
                              {"model", "model", AxisType::kText},
                              {"offload", "config.offload", AxisType::kChoice, 0, 0, "none components layers"},
                              {"quantization", "config.quantization", AxisType::kChoice, 0, 0, "none fp8"},
                              {"reduction_rate", "attention.options.reduction_rate", AxisType::kNumber, 0, 1},
                              {"resolution", "config", AxisType::kSize, 8, 16384},
                              {"routers", "attention.options.routers", AxisType::kText},
                              {"sampler", "config.sampler", AxisType::kText},
                              {"seeds", "seeds", AxisType::kSeed, 0, 9007199254740991},
                              {"steps", "config.steps", AxisType::kInteger, 1, 1000},
                              {"student", ".", AxisType::kStudent},
                              {"tau", "attention.options.tau", AxisType::kNumber, 0},
                              {"true_guidance", "config.true_guidance", AxisType::kNumber, 0, 100},
                              {"width", "config.width", AxisType::kInteger, 8, 16384},
                              {"window", "attention.options.window", AxisType::kWindow, 1, 1'000'000}};

constexpr std::string_view kNoStudent = "none";
constexpr const char* kStudentKeys[] = {"transformer", "loras", "recipe"};

std::string words_of(const Axis& axis) {
  const auto bounded = [&](std::string_view what) {
    if (std::isfinite(axis.most)) return fmt::format("{} from {:g} to {:g}", what, axis.least, axis.most);
    return std::isfinite(axis.least) ? fmt::format("{} from {:g} up", what, axis.least) : std::string(what);
  };
  switch (axis.type) {
    case AxisType::kText: return "text";
    case AxisType::kChoice: return fmt::format("one of: {}", axis.choices);
    case AxisType::kNumber: return bounded("a number");
    case AxisType::kInteger:
    case AxisType::kSeed: return bounded("an integer");
    case AxisType::kSize: return "\"HEIGHTxWIDTH\", " + bounded("each");
    case AxisType::kWindow: return "\"FRAMESxHEIGHTxWIDTH\" or a list of three, in tiles";
    case AxisType::kMethod: return "a name or an object with a name";
    case AxisType::kStudent: return "\"none\", a transformer folder, or an object of transformer, loras and recipe";
    case AxisType::kAny: break;
  }
  return "anything";
}

// "3x4x5" or [3, 4, 5] as its numbers; empty for anything else.
std::vector<int64_t> sizes_of(const json& value) {
  std::vector<int64_t> sizes;
  if (value.is_array()) {
    for (const json& size : value) sizes.push_back(size.is_number_integer() ? size.get<int64_t>() : 0);
    return sizes;
  }
  if (!value.is_string()) return sizes;
  const auto& text = value.get_ref<const std::string&>();
  for (const char *at = text.data(), *end = at + text.size();; ++at) {
    const auto [next, code] = std::from_chars(at, end, sizes.emplace_back());
    if (code != std::errc() || (next != end && *next != 'x')) return {};
    if (next == end) return sizes;
    at = next;
  }
}

bool are_sizes(const json& value, size_t count, const Axis& axis) {
  const std::vector<int64_t> sizes = sizes_of(value);
  return sizes.size() == count && std::all_of(sizes.begin(), sizes.end(), [&](int64_t size) {
           return static_cast<double>(size) >= axis.least && static_cast<double>(size) <= axis.most;
         });
}

bool is_choice(const json& value, std::string_view choices) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) return false;
  if (value.get_ref<const std::string&>().find(' ') != std::string::npos) return false;
  return fmt::format(" {} ", choices).find(fmt::format(" {} ", value.get_ref<const std::string&>())) !=
         std::string::npos;
}

bool is_student(const json& value) {
  if (!value.is_object()) return value.is_string() && !value.get_ref<const std::string&>().empty();
  const auto known = [](const std::string& key) {
    return key == "label" || std::find(std::begin(kStudentKeys), std::end(kStudentKeys), key) != std::end(kStudentKeys);
  };
  const auto says = [&](const char* key) { return value.contains(key); };
  const json::object_t& fields = value.get_ref<const json::object_t&>();
  return std::any_of(std::begin(kStudentKeys), std::end(kStudentKeys), says) &&
         std::all_of(fields.begin(), fields.end(), [&](const auto& field) { return known(field.first); });
}

bool fits(const json& value, const Axis& axis) {
  if (value.is_null()) return axis.type != AxisType::kSeed;  // left to the template
  const auto within = [&] { return value.get<double>() >= axis.least && value.get<double>() <= axis.most; };
  switch (axis.type) {
    case AxisType::kText: return value.is_string() && !value.get_ref<const std::string&>().empty();
    case AxisType::kChoice: return is_choice(value, axis.choices);
    case AxisType::kNumber: return value.is_number() && within();
    case AxisType::kInteger:
    case AxisType::kSeed: return value.is_number_integer() && within();
    case AxisType::kSize: return value.is_string() && are_sizes(value, 2, axis);
    case AxisType::kWindow: return are_sizes(value, 3, axis);
    case AxisType::kMethod:
      return value.is_string() || (value.is_object() && value.contains("name") && value["name"].is_string());
    case AxisType::kStudent: return is_student(value);
    case AxisType::kAny: break;
  }
  return true;
}

std::vector<json> range(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  const double from = reader.number("from"), to = reader.number("to");
  const int64_t count = reader.integer("count");
  const std::string scale = reader.string("scale", "linear");
  reader.finish();
  const bool logarithmic = scale == "log";
  if (!logarithmic && scale != "linear") reader.fail("scale", unknown_name_message("scale", scale, {"linear", "log"}));
  if (count < 2 || count > 1000) reader.fail("count", "expected 2 to 1000");
  if (logarithmic && !(from > 0 && to > 0)) reader.fail("scale", "a logarithmic range needs ends above 0");
  std::vector<json> values;
  for (int64_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(count - 1);
    const double value = logarithmic ? from * std::pow(to / from, share) : from + (to - from) * share;
    const double rounded = std::stod(fmt::format("{:.6g}", value));  // what a person would have written
    if (rounded != std::floor(rounded) || std::abs(rounded) > 9e15) values.emplace_back(rounded);
    else if (rounded >= 0) values.emplace_back(static_cast<uint64_t>(rounded));
    else values.emplace_back(static_cast<int64_t>(rounded));
  }
  return values;
}

void put_student(json& variant, const json& value) {
  for (const char* key : kStudentKeys) variant.erase(key);
  if (value == kNoStudent) return;
  if (value.is_string()) variant["transformer"] = value;
  else variant.merge_patch(value);
  variant.erase("label");
}

// A path's last part: what tells folders apart for a reader.
std::string last_part(const std::string& text) {
  const std::string name = std::filesystem::path(text).filename().string();
  return name.empty() ? text : name;
}

// The words for a value, before they become part of a name.
std::string plain_label(const Axis& axis, const json& value) {
  if (value.is_null()) return "";
  if (value.is_object() && value.contains("label") && value["label"].is_string()) return value["label"];
  if (axis.type == AxisType::kWindow) return fmt::format("{}", fmt::join(sizes_of(value), "x"));
  if (value.is_object()) {
    for (const char* key : {"name", "transformer", "recipe"}) {
      if (value.contains(key) && value[key].is_string()) return last_part(value[key]);
    }
    return axis.type == AxisType::kStudent ? "lora" : value.dump();
  }
  if (value.is_number_float()) return fmt::format("{:g}", value.get<double>());
  const bool is_folder = axis.type == AxisType::kStudent || axis.name == "model";
  return value.is_string() ? is_folder ? last_part(value) : value.get<std::string>() : value.dump();
}

}  // namespace

Axis read_axis(const std::string& name, const json& value, const std::string& where) {
  Axis axis{.name = name};
  std::vector<std::string> known;
  for (const AxisKind& kind : kAxes) {
    known.emplace_back(kind.name);
    if (kind.name != name) continue;
    axis.path = kind.path;
    axis.type = kind.type;
    axis.least = kind.least;
    axis.most = kind.most;
    axis.choices = kind.choices;
  }
  const json* values = &value;
  if (value.is_object() && !value.contains("from")) {
    ObjectReader reader(value, where);
    axis.path = reader.string("path", axis.path);
    values = reader.value("values");
    reader.finish();
    if (values == nullptr) reader.fail("values", "is missing; expected a list, or from, to and count");
  }
  if (axis.path.empty())
    throw ConfigError(where, unknown_name_message("axis", name, known) + "; one of your own needs a \"path\"");
  if (values->is_object()) axis.values = range(*values, where);
  else if (values->is_array()) axis.values.assign(values->begin(), values->end());
  if (axis.values.empty()) throw ConfigError(where, "expected a list with values, or from, to and count");
  for (size_t i = 0; i < axis.values.size(); ++i) {
    if (fits(axis.values[i], axis)) continue;
    throw ConfigError(fmt::format("{}/{}", where, i),
                      fmt::format("expected {}, found {}", words_of(axis), axis.values[i].dump()));
  }
  return axis;
}

void put(json& variant, const Axis& axis, const json& value) {
  if (value.is_null() || axis.type == AxisType::kSeed) return;
  if (axis.type == AxisType::kStudent) return put_student(variant, value);
  if (axis.type == AxisType::kSize) {
    variant["config"]["height"] = sizes_of(value).front();
    variant["config"]["width"] = sizes_of(value).back();
    return;
  }
  std::string pointer = "/" + axis.path;
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  json& place = variant[json::json_pointer(pointer)];
  if (axis.type == AxisType::kWindow) {
    place = json::array();
    for (const int64_t size : sizes_of(value)) place.push_back(static_cast<uint64_t>(size));
    return;
  }
  if (axis.type != AxisType::kMethod) {
    place = value;
    return;
  }
  if (value.is_string()) place["name"] = value;
  else place.merge_patch(value);
  place.erase("label");
}

json seen(const Axis& axis, const json& value) {
  if (value.is_null()) return value;
  if (axis.type == AxisType::kMethod && value.is_object()) return value["name"];
  const bool worded = axis.type == AxisType::kWindow || (axis.type == AxisType::kStudent && value.is_object());
  return worded ? json(plain_label(axis, value)) : value;
}

std::string label(const Axis& axis, const json& value) {
  std::string text = plain_label(axis, value);
  for (char& c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') c = '-';
  }
  return text;
}

bool speaks_for_itself(AxisType type) {
  return type == AxisType::kMethod || type == AxisType::kText || type == AxisType::kChoice || type == AxisType::kSize ||
         type == AxisType::kStudent;
}

}  // namespace vorta::harness
