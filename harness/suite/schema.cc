// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "harness/suite/suite_spec.h"
#include "harness/suite/sweep.h"
#include "suite_schema.h"

namespace vorta::harness {
namespace {

std::string pointer_of(const valijson::ValidationResults::Error& error) {
  std::string pointer;
  for (const std::string& part : error.context) {  // "<root>", then "[key]" or "[index]"
    if (part.size() > 2 && part.front() == '[') pointer += "/" + part.substr(1, part.size() - 2);
  }
  return pointer;
}

// ", found ..." where something short enough stands.
std::string found_at(const nlohmann::json& suite, const std::string& pointer) {
  constexpr std::size_t kLongest = 60;
  const nlohmann::json::json_pointer at(pointer);
  if (!suite.contains(at)) return {};
  const std::string value = suite.at(at).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return value.size() > kLongest ? "" : ", found " + value;
}

}  // namespace

void check_schema(const nlohmann::json& suite, std::string_view where) {
  const nlohmann::json document = parse_json(embedded::suite_schema_json(), "suite.schema.json");
  valijson::Schema schema;
  valijson::SchemaParser parser;
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(document), schema);

  valijson::Validator validator;
  valijson::ValidationResults results;
  if (validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(suite), &results)) return;
  // The validator reports the innermost failure first, then each container around it: the first one says most.
  valijson::ValidationResults::Error error;
  if (!results.popError(error)) throw ConfigError(where, "does not follow suite.schema.json");
  const std::string pointer = pointer_of(error);
  if (error.description.ends_with('.')) error.description.pop_back();
  throw ConfigError(std::string(where) + "#" + pointer,
                    error.description + found_at(suite, pointer) + variant_at(suite, pointer));
}

}  // namespace vorta::harness
