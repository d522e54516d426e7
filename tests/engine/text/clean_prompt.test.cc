// SPDX-License-Identifier: Apache-2.0
#include "engine/text/clean_prompt.h"

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "tests/support/catch.h"

using vorta::engine::clean_prompt;

TEST_CASE("prompts are cleaned as ftfy and diffusers clean them", "[text][clean][golden]") {
  const auto pairs = vorta::read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/text/cleaned.json");
  REQUIRE(pairs.size() > 70);
  for (const auto& pair : pairs) {
    INFO(pair[0].dump(-1, ' ', true));
    CHECK(clean_prompt(pair[0].get<std::string>()) == pair[1].get<std::string>());
  }
}

TEST_CASE("UTF-8 that was read in another encoding is repaired as ftfy repairs it", "[text][clean][golden]") {
  const auto fixture = vorta::read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/text/mojibake.json");
  REQUIRE(fixture["repaired"].size() > 300);
  REQUIRE(fixture["unchanged"].size() > 40);
  for (const auto& pair : fixture["repaired"]) {
    INFO(pair[0].dump(-1, ' ', true));
    CHECK(clean_prompt(pair[0].get<std::string>()) == pair[1].get<std::string>());
  }
  for (const auto& text : fixture["unchanged"]) {
    CHECK(clean_prompt(text.get<std::string>()) == text.get<std::string>());
  }
}

TEST_CASE("a prompt that is not UTF-8 is the user's error", "[text][clean]") {
  CHECK_THROWS_AS(clean_prompt("caf\xe9"), vorta::ConfigError);
  CHECK_THROWS_AS(clean_prompt("\xed\xa0\x80"), vorta::ConfigError);
}
