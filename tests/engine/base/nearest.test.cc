// SPDX-License-Identifier: Apache-2.0
#include "engine/base/nearest.h"

#include "tests/support/catch.h"

TEST_CASE("names are sorted by edit distance", "[base][nearest]") {
  const auto sorted = vorta::nearest_first("coresett", {"sliding", "dense", "coreset"});
  CHECK(sorted.front() == "coreset");
}

TEST_CASE("an unknown name is reported with the nearest known one", "[base][nearest]") {
  const auto message = vorta::unknown_name_message("attention", "dens", {"sliding", "dense"});
  CHECK(message == "unknown attention 'dens'; did you mean 'dense'? known: dense, sliding");
}
