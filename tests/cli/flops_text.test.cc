// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/flops_text.h"

#include "tests/support/catch.h"

using vorta::harness::flops_text;

TEST_CASE("operations are told in the unit that fits", "[cli][units]") {
  CHECK(flops_text(0) == "0 FLOP");
  CHECK(flops_text(12) == "12 FLOP");
  CHECK(flops_text(1500) == "1.5 kFLOP");
  CHECK(flops_text(7.34e8) == "734 MFLOP");
  CHECK(flops_text(9.996e11) == "1 TFLOP");
  CHECK(flops_text(1.2345e13) == "12.3 TFLOP");
  CHECK(flops_text(3e21) == "3e+03 EFLOP");
}
