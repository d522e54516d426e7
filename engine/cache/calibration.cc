// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/calibration.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/json_numbers.h"
#include "engine/base/nearest.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>

#include "cache_published.h"

namespace vorta::engine {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kSignals{"time_embedding", "time_projection", "first_block"};

// The record itself and where it stands in messages.
struct Record {
  json value;
  std::string where;
};

Record find_record(const std::string& family, const std::string& source, std::string_view where) {
  if (source.ends_with(".json")) {
    json file = read_json_file(source);
    if (!file.is_object() || file.value("cache", "") != family) {
      throw ConfigError(source + "#/cache", fmt::format("expected a calibration of {}", family));
    }
    file.erase("cache");
    file.erase("fit");  // how it was made: for readers
    return {std::move(file), source + "#"};
  }
  const json published = json::parse(embedded::published_json()).at(family);
  const auto found = published.find(source);
  if (found != published.end()) return {*found, "published calibration " + source};
  std::vector<std::string> known;
  for (const auto& [name, record] : published.items()) known.push_back(name);
  throw ConfigError(
      where, unknown_name_message("calibration", source, known) + "; a file of `vorta-bench calibrate` ends in .json");
}

CalibratedModel read_model(ObjectReader& reader) {
  return {.layers = reader.integer("layers", 0),
          .width = reader.integer("width", 0),
          .channels = reader.integer("channels", 0)};
}

void say_model(const CalibratedModel& model, json& record) {
  record["layers"] = model.layers;
  if (model.width > 0) record["width"] = model.width;
  if (model.channels > 0) record["channels"] = model.channels;
}

}  // namespace

TeaCalibration tea_calibration(const std::string& source, std::string_view where) {
  const Record record = find_record("teacache", source, where);
  ObjectReader reader(record.value, record.where);
  TeaCalibration calibration;
  const std::string signal = reader.string("signal");
  const auto found = std::find(kSignals.begin(), kSignals.end(), signal);
  if (found == kSignals.end()) reader.fail("signal", "expected time_embedding, time_projection or first_block");
  calibration.signal = static_cast<CacheSignal>(found - kSignals.begin());
  calibration.coefficients = finite_numbers(reader, "coefficients");
  const std::vector<double> domain = finite_numbers(reader, "domain");
  if (domain.size() != 2 || !(domain[0] < domain[1])) reader.fail("domain", "expected [low, high]");
  calibration.low = domain[0];
  calibration.high = domain[1];
  calibration.first_steps = reader.integer("first_steps");
  calibration.last_steps = reader.integer("last_steps");
  if (calibration.first_steps < 1 || calibration.last_steps < 0)
    reader.fail("first_steps", "expected at least 1, last_steps at least 0");
  calibration.model = read_model(reader);
  if (reader.has("steps")) calibration.steps = reader.integer("steps");
  reader.finish();
  return calibration;
}

MagCalibration mag_calibration(const std::string& source, std::string_view where) {
  const Record record = find_record("magcache", source, where);
  ObjectReader reader(record.value, record.where);
  MagCalibration calibration;
  calibration.positive = finite_numbers(reader, "positive");
  calibration.negative = finite_numbers(reader, "negative");
  if (calibration.positive.size() != calibration.negative.size())
    reader.fail("negative", "expected as many ratios as in \"positive\"");
  calibration.inclusive = reader.boolean("inclusive", false);
  calibration.model = read_model(reader);
  reader.finish();
  return calibration;
}

json to_json(const TeaCalibration& c) {
  json record{{"cache", "teacache"},
              {"signal", kSignals[static_cast<size_t>(c.signal)]},
              {"coefficients", c.coefficients},
              {"domain", {c.low, c.high}},
              {"first_steps", c.first_steps},
              {"last_steps", c.last_steps}};
  say_model(c.model, record);
  if (c.steps) record["steps"] = *c.steps;
  return record;
}

json to_json(const MagCalibration& c) {
  json record{{"cache", "magcache"}, {"positive", c.positive}, {"negative", c.negative}, {"inclusive", c.inclusive}};
  say_model(c.model, record);
  return record;
}

void require_same_model(const CalibratedModel& calibrated, const CacheSchedule& schedule, std::string_view where) {
  struct Fact {
    const char* words;
    int64_t calibrated, found;
  };
  for (const Fact& fact :
       {Fact{"layers", calibrated.layers, schedule.layers}, Fact{"channels a token", calibrated.width, schedule.width},
        Fact{"latent channels", calibrated.channels, schedule.channels}}) {
    if (fact.calibrated == 0 || fact.found == 0 || fact.calibrated == fact.found) continue;
    throw ConfigError(
        where, fmt::format("expected a calibration of a model of {1} {0}, found one of {2}: calibrate this model "
                           "(`vorta-bench calibrate`)",
                           fact.words, fact.found, fact.calibrated));
  }
}

}  // namespace vorta::engine
