// SPDX-License-Identifier: Apache-2.0
#include "engine/base/json_io.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "tests/support/catch.h"

using Catch::Contains;

TEST_CASE("a duplicate key is refused", "[base][json]") {
  CHECK_THROWS_WITH(vorta::parse_json(R"({"a": 1, "a": 2})", "x.json"), Contains("duplicate key \"a\""));
  CHECK_NOTHROW(vorta::parse_json(R"({"a": {"a": 1}, "b": {"a": 2}})", "x.json"));
}

TEST_CASE("a syntax error names the file, line and column", "[base][json]") {
  CHECK_THROWS_WITH(vorta::parse_json("{\n  \"a\": ,\n}", "x.json"),
                    Contains("x.json") && Contains("line 2, column 8"));
}

TEST_CASE("bottomless nesting is refused", "[base][json]") {
  CHECK_THROWS_AS(vorta::parse_json(std::string(100000, '['), "x.json"), vorta::DataError);
}

TEST_CASE("an unknown key is reported with its JSON pointer and the nearest known key", "[base][json]") {
  const auto object = vorta::parse_json(R"({"stepz": 3, "seed": 1})", "suite.json");
  vorta::ObjectReader reader(object, "suite.json#/base");
  CHECK(reader.integer("steps", 20) == 20);
  CHECK(reader.integer("seed", 0) == 1);
  CHECK_THROWS_WITH(reader.finish(), Contains("suite.json#/base/stepz") && Contains("did you mean 'steps'"));
}

TEST_CASE("a wrong type is reported with its JSON pointer", "[base][json]") {
  const auto object = vorta::parse_json(R"({"steps": "many"})", "suite.json");
  vorta::ObjectReader reader(object, "suite.json");
  CHECK_THROWS_WITH(reader.integer("steps"), Contains("suite.json#/steps") && Contains("\"many\""));
}

TEST_CASE("an atomic write replaces the file and leaves no temporary", "[base][json]") {
  const auto folder = std::filesystem::temp_directory_path() / "vorta-json-io-test";
  std::filesystem::create_directories(folder);
  vorta::write_file_atomically(folder / "a.json", "1");
  vorta::write_file_atomically(folder / "a.json", "22");
  CHECK(vorta::read_file(folder / "a.json") == "22");
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  std::filesystem::remove_all(folder);
  CHECK_THROWS_AS(vorta::write_file_atomically(folder / "none" / "a.json", "1"), vorta::DataError);
}
