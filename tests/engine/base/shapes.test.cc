// SPDX-License-Identifier: Apache-2.0
#include "engine/base/shapes.h"

#include <vector>

#include "engine/base/error.h"
#include "tests/support/catch.h"

using vorta::ShapeBinder;

TEST_CASE("a shape binder remembers letters across tensors", "[base][shapes]") {
  ShapeBinder binder("attention");
  const std::vector<int64_t> q{1, 8, 100, 32};
  binder.bind(q, "q", "B N L D");
  CHECK(binder['L'] == 100);
  binder.bind(q, "k", "1 N L D");
}

TEST_CASE("a shape binder names both tensors on conflict", "[base][shapes]") {
  ShapeBinder binder("attention");
  binder.bind(std::vector<int64_t>{1, 8}, "q", "B N");
  try {
    binder.bind(std::vector<int64_t>{1, 4}, "k", "B N");
    FAIL("a conflict must throw");
  } catch (const vorta::InternalError& error) {
    CHECK(std::string(error.what()) == "[attention] N is 8 in q but 4 in k");
  }
  CHECK_THROWS_AS(binder.bind(std::vector<int64_t>{1}, "v", "B N"), vorta::InternalError);
}
