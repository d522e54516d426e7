// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "harness/suite/expression.h"
#include "harness/suite/sweep_axes.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

constexpr size_t kMostVariants = 4096;
constexpr size_t kLongestName = 64;

// One choice of each axis, in the order of the axes.
using Choice = std::vector<const json*>;

void add_seed(json& seeds, const json& seed) {
  if (std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) seeds.push_back(seed);
}

class Sweep {
 public:
  Sweep(const json& sweep, const std::string& where) : where_(where) {
    ObjectReader reader(sweep, where);
    if (const json* pattern = reader.value("template")) template_ = *pattern;
    name_ = reader.string("name", "");
    if (const json* defaults = reader.value("defaults")) read_defaults(*defaults, reader.pointer("defaults"));
    const json* axes = reader.value("axes");
    if (axes == nullptr || !axes->is_object() || axes->empty())
      reader.fail("axes", "expected an object with at least one axis");
    for (const auto& [name, value] : axes->items())
      axes_.push_back(read_axis(name, value, reader.pointer("axes") + "/" + name));
    if (const json* zips = reader.value("zip")) read_zips(*zips, reader.pointer("zip"));
    if (const json* conditions = reader.value("where")) read_conditions(*conditions, reader.pointer("where"));
    reader.finish();
    check_pattern();
  }

  // Combinations that differ in their seed alone are one variant, which runs with those seeds.
  std::vector<json> variants() const {
    std::vector<json> found;
    std::map<std::string, size_t> distinct;
    std::map<std::string, std::string> names;  // what gave each
    for (const Choice& choice : choices()) {
      if (!wanted(choice)) continue;
      json variant = variant_of(choice);
      const json seed = seed_of(choice);
      const auto [same, is_new] = distinct.try_emplace(canonical_json(variant), found.size());
      if (is_new) {
        variant["name"] = name_of(choice);
        require_new_name(names, variant["name"], choice);
        if (!seed.is_null()) variant["seeds"] = json::array({seed});
        found.push_back(std::move(variant));
      } else if (!seed.is_null()) {
        add_seed(found[same->second]["seeds"], seed);
      }
    }
    if (found.empty()) throw ConfigError(where_ + "/where", "leaves no combination");
    return found;
  }

 private:
  void read_defaults(const json& defaults, const std::string& where) {
    if (!defaults.is_object()) throw ConfigError(where, "expected an object of axes and values");
    for (const auto& [name, value] : defaults.items())
      defaults_.push_back(read_axis(name, json::array({value}), where + "/" + name));
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
      for (const json& name : zip)
        group.push_back(index_of(name.is_string() ? name.get<std::string>() : name.dump(), where));
      for (const size_t axis : group) {
        if (axes_[axis].values.size() != axes_[group.front()].values.size()) {
          throw ConfigError(
              where, fmt::format("{} has {} values, {} has {}; axes of a zip go together", axes_[group.front()].name,
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
        if (!taken.insert(member).second)
          throw ConfigError(where_ + "/zip", fmt::format("\"{}\" is in two zips", axes_[member].name));
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
      if (next.size() > 64 * kMostVariants)
        throw ConfigError(where_ + "/axes", fmt::format("more than {} combinations", 64 * kMostVariants));
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

  // The seed of a combination; null where no axis says one.
  json seed_of(const Choice& choice) const {
    json seed;
    for (const Axis& axis : defaults_) {
      if (axis.type == AxisType::kSeed) seed = axis.values.front();
    }
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (axes_[i].type == AxisType::kSeed) seed = *choice[i];
    }
    return seed;
  }

  // A pattern's marks must be axes, and every axis that tells variants apart should be in it.
  void check_pattern() const {
    for (size_t open = name_.find('{'); open != std::string::npos; open = name_.find('{', open + 1)) {
      const size_t close = name_.find('}', open);
      const std::string mark =
          name_.substr(open + 1, close == std::string::npos ? std::string::npos : close - open - 1);
      std::vector<std::string> known;
      for (const std::vector<Axis>* axes : {&axes_, &defaults_}) {
        for (const Axis& axis : *axes) {
          if (axis.type != AxisType::kSeed) known.push_back(axis.name);
        }
      }
      if (close == std::string::npos)
        throw ConfigError(where_ + "/name", fmt::format("\"{}\": expected }} after {{{}", name_, mark));
      if (std::find(known.begin(), known.end(), mark) != known.end()) continue;
      throw ConfigError(where_ + "/name",
                        fmt::format("\"{}\": {}", name_, unknown_name_message("axis", mark, std::move(known))));
    }
  }

  std::string words_for(const Choice& choice) const {
    std::string words;
    for (size_t i = 0; i < axes_.size(); ++i) {
      words += fmt::format("{}{} {}", words.empty() ? "" : ", ", axes_[i].name,
                           choice[i]->is_string() ? choice[i]->get<std::string>() : choice[i]->dump());
    }
    return words;
  }

  std::string pattern() const { return name_.empty() ? "the values strung together" : fmt::format("\"{}\"", name_); }

  void require_new_name(std::map<std::string, std::string>& names, const std::string& name,
                        const Choice& choice) const {
    const auto [same, is_new] = names.try_emplace(name, words_for(choice));
    if (is_new) return;
    throw ConfigError(
        where_ + "/name",
        fmt::format("{} name two variants \"{}\": {}; and {}. Expected a pattern with every axis that tells them "
                    "apart, and a \"label\" for methods of one name",
                    pattern(), name, same->second, words_for(choice)));
  }

  // "{axis}" is replaced by the axis' value; without a pattern all values are strung together.
  std::string name_of(const Choice& choice) const {
    std::string name = name_;
    const auto replace_mark = [&name](const Axis& axis, const std::string& text) {
      const std::string mark = "{" + axis.name + "}";
      for (size_t at = name.find(mark); at != std::string::npos; at = name.find(mark, at + text.size()))
        name.replace(at, mark.size(), text);
    };
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (axes_[i].type == AxisType::kSeed) continue;
      const std::string text = label(axes_[i], *choice[i]);
      if (name_.empty() && !text.empty())
        name += (name.empty() ? "" : "-") + (speaks_for_itself(axes_[i].type) ? text : axes_[i].name + text);
      replace_mark(axes_[i], text);
    }
    for (const Axis& axis : defaults_) replace_mark(axis, label(axis, axis.values.front()));
    const bool begins = !name.empty() && std::isalnum(static_cast<unsigned char>(name.front())) != 0;
    const auto is_plain = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    };
    if (begins && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), is_plain)) return name;
    throw ConfigError(
        where_ + "/name",
        fmt::format("{} give \"{}\" for {}: expected a letter or digit, then letters, digits, dots, dashes and "
                    "underscores, {} characters at most",
                    pattern(), name, words_for(choice), kLongestName));
  }

  std::string where_;
  json template_ = json::object();
  std::string name_;
  std::vector<Axis> axes_, defaults_;
  std::vector<std::vector<size_t>> groups_;
  std::vector<std::string> conditions_;
};

void require_free_name(const json& variants, const std::string& name, const std::string& place) {
  const bool taken = std::any_of(variants.begin(), variants.end(), [&](const json& other) {
    return other.is_object() && other.value("name", json()) == name;
  });
  if (taken)
    throw ConfigError(place + "/name",
                      fmt::format("gives \"{}\", which a variant of \"variants\" has; expected another name", name));
}

// The suite's seeds and those of the sweep are the suite's; a variant that runs with all of them says none.
void merge_seeds(json& suite, std::vector<json>& variants) {
  const auto says_seeds = [](const json& variant) { return variant.contains("seeds"); };
  if (std::none_of(variants.begin(), variants.end(), says_seeds)) return;
  json& seeds = suite.emplace("seeds", json::array()).first.value();
  if (!seeds.is_array()) return;  // refused when it is read
  for (const json& variant : variants) {
    for (const json& seed : variant.value("seeds", json::array())) add_seed(seeds, seed);
  }
  for (json& variant : variants) {
    if (says_seeds(variant) && variant["seeds"].size() == seeds.size()) variant.erase("seeds");
  }
}

}  // namespace

void expand_sweep(json& suite, std::string_view where) {
  const auto found = suite.find("sweep");
  if (found == suite.end()) return;
  const std::string place = std::string(where) + "/sweep";
  if (!found->is_object()) throw ConfigError(place, fmt::format("expected an object, found {}", found->type_name()));
  std::vector<json> variants = Sweep(*found, place).variants();
  if (variants.size() > kMostVariants)
    throw ConfigError(place, fmt::format("{} variants; at most {}", variants.size(), kMostVariants));
  merge_seeds(suite, variants);
  json& all = suite.emplace("variants", json::array()).first.value();
  for (const json& variant : variants) require_free_name(all, variant["name"], place);
  for (const json& variant : variants) all.push_back(variant);
  suite.erase("sweep");
}

std::string variant_at(const json& suite, std::string_view pointer) {
  constexpr std::string_view kVariants = "/variants/";
  if (!pointer.starts_with(kVariants)) return {};
  const json::json_pointer name(std::string(pointer.substr(0, pointer.find('/', kVariants.size()))) + "/name");
  if (!suite.contains(name) || !suite.at(name).is_string()) return {};
  return fmt::format(" (variant \"{}\")", suite.at(name).get<std::string>());
}

}  // namespace vorta::harness
