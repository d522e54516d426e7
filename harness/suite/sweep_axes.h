// SPDX-License-Identifier: Apache-2.0
// Private to this folder: what a sweep can vary.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::harness {

/// kMethod: a name, or an object with name and options. kSize: "480x832", height first. kWindow: "3x3x3" or a list,
/// tiles along frames, height and width. kStudent: "none", a transformer folder, or an object of transformer, loras,
/// recipe. kSeed makes no variants: it says which of the suite's seeds they run with. kAny: an axis of the suite's own.
enum class AxisType { kText, kChoice, kNumber, kInteger, kSize, kWindow, kMethod, kStudent, kSeed, kAny };

/// An axis and its values; null leaves the template's.
struct Axis {
  std::string name;
  std::string path = {};
  AxisType type = AxisType::kAny;
  double least = -std::numeric_limits<double>::infinity(), most = std::numeric_limits<double>::infinity();
  std::string_view choices = {};
  std::vector<nlohmann::json> values = {};
};

/// Reads an axis from a list of values, {from, to, count, scale} or {path, values}. ConfigError at `where` for names
/// that are in no table and have no path, and values that are not of the axis' type or range.
Axis read_axis(const std::string& name, const nlohmann::json& value, const std::string& where);
/// Writes a value into a variant; null and seeds change nothing.
void put(nlohmann::json& variant, const Axis& axis, const nlohmann::json& value);
/// What an expression sees: the method's name for methods, a word for students and windows, the value itself for
/// others.
nlohmann::json seen(const Axis& axis, const nlohmann::json& value);
/// The value as part of a variant's name.
std::string label(const Axis& axis, const nlohmann::json& value);
/// Whether a label says what it is without its axis.
bool speaks_for_itself(AxisType type);

}  // namespace vorta::harness
