// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"
#include "harness/cli/cli.h"
#include "harness/cli/slug.h"
#include "tests/support/catch.h"

namespace vorta::harness {
namespace {

TEST_CASE("output names follow the published script", "[cli][names]") {
  CHECK(output_stem(0, "A golden retriever with a red ball") == "000-a-golden-retriever-w");
  CHECK(output_stem(12, "It's 3.5\" wide \xe2\x80\x94 \xc3\xa9 \xc3\x9cn\xc3\xaf") ==
        "012-its-35-wide-\xc3\xa9-\xc3\xbcn\xc3\xaf");
  CHECK(output_stem(7, "") == "007-");
  CHECK_THROWS_AS(output_stem(0, "bad \xff"), ConfigError);
}

TEST_CASE("options without a verb go to run", "[cli][names]") {
  const Command verbs[] = {{"run", "", nullptr}, {"list", "", nullptr}};
  using Words = std::vector<std::string>;
  CHECK(with_default_verb({"--suite", "x"}, verbs) == Words{"run", "--suite", "x"});
  CHECK(with_default_verb({"--log-level", "warn", "--suite", "x"}, verbs) ==
        Words{"--log-level", "warn", "run", "--suite", "x"});
  CHECK(with_default_verb({"list"}, verbs) == Words{"list"});
  CHECK(with_default_verb({"--help"}, verbs) == Words{"--help"});
  CHECK(with_default_verb({}, verbs) == Words{});
}

}  // namespace
}  // namespace vorta::harness
