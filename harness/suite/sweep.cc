// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "harness/suite/expression.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

constexpr size_t kMostVariants = 4096;
constexpr size_t kLongestName = 64;

enum class AxisType { kText, kNumber, kInteger, kSize, kMethod, kAny };

struct AxisKind {
  std::string_view name;
  std::string_view path;  // in a variant
  AxisType type;
};

// kMethod: a name, or an object with name and options. kSize: "480x832", height first.
constexpr AxisKind kAxes[] = {{"attention", "attention", AxisType::kMethod},
                              {"cache", "cache", AxisType::kMethod},
                              {"cache_interval", "cache.options.interval", AxisType::kInteger},
                              {"cache_threshold", "cache.options.threshold", AxisType::kNumber},
                              {"device", "config.device", AxisType::kText},
                              {"dtype", "config.dtype", AxisType::kText},
                              {"flow_shift", "config.flow_shift", AxisType::kNumber},
                              {"frames", "config.frames", AxisType::kInteger},
                              {"guidance", "config.guidance", AxisType::kNumber},
                              {"height", "config.height", AxisType::kInteger},
                              {"quantization", "config.quantization", AxisType::kText},
                              {"resolution", "config", AxisType::kSize},
                              {"routers", "attention.options.routers", AxisType::kText},
                              {"sampler", "config.sampler", AxisType::kText},
                              {"steps", "config.steps", AxisType::kInteger},
                              {"tau", "attention.options.tau", AxisType::kNumber},
                              {"true_guidance", "config.true_guidance", AxisType::kNumber},
                              {"width", "config.width", AxisType::kInteger}};

struct Axis {
  std::string name;
  std::string path;
  AxisType type = AxisType::kAny;
  std::vector<json> values;
};

// One choice of each axis, in the order of the axes.
using Choice = std::vector<const json*>;

std::string words_of(AxisType type) {
  switch (type) {
    case AxisType::kText: return "text";
    case AxisType::kNumber: return "a number";
    case AxisType::kInteger: return "an integer";
    case AxisType::kSize: return "HEIGHTxWIDTH";
    case AxisType::kMethod: return "a name or an object with a name";
    case AxisType::kAny: break;
  }
  return "anything";
}

bool fits(const json& value, AxisType type) {
  if (value.is_null()) return true;  // left to the template
  switch (type) {
    case AxisType::kText: return value.is_string();
    case AxisType::kNumber: return value.is_number();
    case AxisType::kInteger: return value.is_number_integer();
    case AxisType::kSize: {
      int height = 0, width = 0, length = 0;
      const std::string text = value.is_string() ? value.get<std::string>() : "";
      return std::sscanf(text.c_str(), "%dx%d%n", &height, &width, &length) == 2 && static_cast<size_t>(length) == text.size();
    }
    case AxisType::kMethod: return value.is_string() || (value.is_object() && value.contains("name") && value["name"].is_string());
    case AxisType::kAny: break;
  }
  return true;
}

std::vector<json> range(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  const double from = reader.number("from"), to = reader.number("to");
  const int64_t count = reader.integer("count");
  const bool logarithmic = reader.string("scale", "linear") == "log";
  reader.finish();
  if (count < 2 || count > 1000) reader.fail("count", "expected 2 to 1000");
  if (logarithmic && !(from > 0 && to > 0)) reader.fail("scale", "a logarithmic range needs ends above 0");
  std::vector<json> values;
  for (int64_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(count - 1);
    const double value = logarithmic ? from * std::pow(to / from, share) : from + (to - from) * share;
    const double rounded = std::stod(fmt::format("{:.6g}", value));  // what a person would have written
    values.push_back(rounded == std::floor(rounded) ? json(static_cast<int64_t>(rounded)) : json(rounded));
  }
  return values;
}

Axis read_axis(const std::string& name, const json& value, const std::string& where) {
  Axis axis{.name = name, .path = {}, .values = {}};
  std::vector<std::string> known;
  for (const AxisKind& kind : kAxes) {
    known.emplace_back(kind.name);
    if (kind.name != name) continue;
    axis.path = kind.path;
    axis.type = kind.type;
  }
  const json* values = &value;
  if (value.is_object() && !value.contains("from")) {
    ObjectReader reader(value, where);
    axis.path = reader.string("path", axis.path);
    values = reader.value("values");
    reader.finish();
    if (values == nullptr) reader.fail("values", "is missing; expected a list, or from, to and count");
  }
  if (axis.path.empty()) throw ConfigError(where, unknown_name_message("axis", name, known) + "; one of your own needs a \"path\"");
  if (values->is_object()) axis.values = range(*values, where);
  else if (values->is_array()) axis.values.assign(values->begin(), values->end());
  if (axis.values.empty()) throw ConfigError(where, "expected a list with values, or from, to and count");
  for (size_t i = 0; i < axis.values.size(); ++i) {
    if (fits(axis.values[i], axis.type)) continue;
    throw ConfigError(fmt::format("{}/{}", where, i), fmt::format("expected {}, found {}", words_of(axis.type), axis.values[i].dump()));
  }
  return axis;
}

void put(json& variant, const Axis& axis, const json& value) {
  if (value.is_null()) return;
  if (axis.type == AxisType::kSize) {
    int height = 0, width = 0;
    std::sscanf(value.get_ref<const std::string&>().c_str(), "%dx%d", &height, &width);
    variant["config"]["height"] = height;
    variant["config"]["width"] = width;
    return;
  }
  std::string pointer = "/" + axis.path;
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  json& place = variant[json::json_pointer(pointer)];
  if (axis.type != AxisType::kMethod) {
    place = value;
    return;
  }
  if (value.is_string()) place["name"] = value;
  else place.merge_patch(value);
  place.erase("label");
}

// What an expression or a name sees: the method's name for methods, the value itself for others.
json seen(const Axis& axis, const json& value) {
  return axis.type == AxisType::kMethod && value.is_object() ? value["name"] : value;
}

std::string label(const json& value) {
  if (value.is_null()) return "";
  if (value.is_object()) return value.contains("label") ? value["label"].get<std::string>() : value.value("name", "");
  std::string text = value.is_string() ? value.get<std::string>() : value.is_number_float() ? fmt::format("{:g}", value.get<double>()) : value.dump();
  for (char& c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') c = '-';
  }
  return text;
}

class Sweep {
 public:
  Sweep(const json& sweep, const std::string& where) : where_(where) {
    ObjectReader reader(sweep, where);
    if (const json* pattern = reader.value("template")) template_ = *pattern;
    name_ = reader.string("name", "");
    if (const json* defaults = reader.value("defaults")) read_defaults(*defaults, reader.pointer("defaults"));
    const json* axes = reader.value("axes");
    if (axes == nullptr || !axes->is_object() || axes->empty()) reader.fail("axes", "expected an object with at least one axis");
    for (const auto& [name, value] : axes->items()) axes_.push_back(read_axis(name, value, reader.pointer("axes") + "/" + name));
    if (const json* zips = reader.value("zip")) read_zips(*zips, reader.pointer("zip"));
    if (const json* conditions = reader.value("where")) read_conditions(*conditions, reader.pointer("where"));
    reader.finish();
  }

  std::vector<json> variants() const {
    std::vector<json> found;
    std::set<std::string> distinct;
    for (const Choice& choice : choices()) {
      if (!wanted(choice)) continue;
      json variant = variant_of(choice);
      if (!distinct.insert(canonical_json(variant)).second) continue;
      variant["name"] = name_of(choice);
      found.push_back(std::move(variant));
    }
    if (found.empty()) throw ConfigError(where_ + "/where", "leaves no combination");
    return found;
  }

 private:
  void read_defaults(const json& defaults, const std::string& where) {
    if (!defaults.is_object()) throw ConfigError(where, "expected an object of axes and values");
    for (const auto& [name, value] : defaults.items()) defaults_.push_back(read_axis(name, json::array({value}), where + "/" + name));
  }

  size_t index_of(const std::string& name, const std::string& where) const {
    std::vector<std::string> known;
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (axes_[i].name == name) return i;
      known.push_back(axes_[i].name);
    }
    throw ConfigError(where, unknown_name_message("axis", name, std::move(known)));
  }

  void read_zips(const json& zips, const std::string& where) {
    if (!zips.is_array()) throw ConfigError(where, "expected a list of lists of axes");
    for (const json& zip : zips) {
      if (!zip.is_array() || zip.size() < 2) throw ConfigError(where, "expected lists of two axes or more");
      std::vector<size_t> group;
      for (const json& name : zip) group.push_back(index_of(name.is_string() ? name.get<std::string>() : name.dump(), where));
      for (const size_t axis : group) {
        if (axes_[axis].values.size() != axes_[group.front()].values.size()) {
          throw ConfigError(where, fmt::format("{} has {} values, {} has {}; axes of a zip go together", axes_[group.front()].name,
                                               axes_[group.front()].values.size(), axes_[axis].name, axes_[axis].values.size()));
        }
      }
      groups_.push_back(std::move(group));
    }
  }

  void read_conditions(const json& conditions, const std::string& where) {
    for (const json& condition : conditions.is_array() ? conditions : json::array({conditions})) {
      if (!condition.is_string()) throw ConfigError(where, "expected expressions as text");
      conditions_.push_back(condition.get<std::string>());
    }
  }

  // Groups in the order of their first axis; the last one turns fastest.
  std::vector<Choice> choices() const {
    std::vector<std::vector<size_t>> groups;
    std::set<size_t> taken;
    for (size_t axis = 0; axis < axes_.size(); ++axis) {
      if (taken.contains(axis)) continue;
      std::vector<size_t> group{axis};
      for (const auto& zip : groups_) {
        if (std::find(zip.begin(), zip.end(), axis) != zip.end()) group = zip;
      }
      for (const size_t member : group) {
        if (!taken.insert(member).second) throw ConfigError(where_ + "/zip", fmt::format("\"{}\" is in two zips", axes_[member].name));
      }
      groups.push_back(std::move(group));
    }
    std::vector<Choice> all{Choice(axes_.size(), nullptr)};
    for (const auto& group : groups) {
      std::vector<Choice> next;
      for (const Choice& choice : all) {
        for (size_t i = 0; i < axes_[group.front()].values.size(); ++i) {
          next.push_back(choice);
          for (const size_t axis : group) next.back()[axis] = &axes_[axis].values[i];
        }
      }
      if (next.size() > 64 * kMostVariants) throw ConfigError(where_ + "/axes", fmt::format("more than {} combinations", 64 * kMostVariants));
      all = std::move(next);
    }
    return all;
  }

  bool wanted(const Choice& choice) const {
    std::map<std::string, json> names;
    for (const Axis& axis : defaults_) names[axis.name] = seen(axis, axis.values.front());
    for (size_t i = 0; i < axes_.size(); ++i) names[axes_[i].name] = seen(axes_[i], *choice[i]);
    for (size_t i = 0; i < conditions_.size(); ++i) {
      const std::string place = fmt::format("{}/where/{}", where_, i);
      const json value = evaluate_expression(conditions_[i], names, place);
      if (!value.is_boolean()) throw ConfigError(place, fmt::format("expected true or false, found {}", value.dump()));
      if (!value.get<bool>()) return false;
    }
    return true;
  }

  json variant_of(const Choice& choice) const {
    json variant = template_;
    for (const Axis& axis : defaults_) put(variant, axis, axis.values.front());
    for (size_t i = 0; i < axes_.size(); ++i) put(variant, axes_[i], *choice[i]);
    if (!variant.contains("attention")) variant["attention"]["name"] = "dense";
    return variant;
  }

  // "{axis}" is replaced by the axis' value; without a pattern all values are strung together.
  std::string name_of(const Choice& choice) const {
    std::string name = name_;
    for (size_t i = 0; i < axes_.size(); ++i) {
      const std::string text = label(*choice[i]);
      const bool speaks = axes_[i].type == AxisType::kMethod || axes_[i].type == AxisType::kText || axes_[i].type == AxisType::kSize;
      if (name_.empty() && !text.empty()) name += (name.empty() ? "" : "-") + (speaks ? text : axes_[i].name + text);
      const std::string mark = "{" + axes_[i].name + "}";
      for (size_t at = name.find(mark); at != std::string::npos; at = name.find(mark)) name.replace(at, mark.size(), text);
    }
    if (name.size() > kLongestName) throw ConfigError(where_ + "/name", fmt::format("\"{}\" is longer than {} characters; give a pattern", name, kLongestName));
    return name;
  }

  std::string where_;
  json template_ = json::object();
  std::string name_;
  std::vector<Axis> axes_, defaults_;
  std::vector<std::vector<size_t>> groups_;
  std::vector<std::string> conditions_;
};

}  // namespace

void expand_sweep(json& suite, std::string_view where) {
  const auto found = suite.find("sweep");
  if (found == suite.end()) return;
  const std::string place = std::string(where) + "/sweep";
  if (!found->is_object()) throw ConfigError(place, fmt::format("expected an object, found {}", found->type_name()));
  const std::vector<json> variants = Sweep(*found, place).variants();
  if (variants.size() > kMostVariants) throw ConfigError(place, fmt::format("{} variants; at most {}", variants.size(), kMostVariants));
  if (!suite.contains("variants")) suite["variants"] = json::array();
  for (const json& variant : variants) suite["variants"].push_back(variant);
  suite.erase("sweep");
}

}  // namespace vorta::harness
