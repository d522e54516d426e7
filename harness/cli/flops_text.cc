// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/flops_text.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace vorta::harness {

std::string flops_text(double flops) {
  constexpr std::array<std::string_view, 7> kPrefixes{"", "k", "M", "G", "T", "P", "E"};
  constexpr double kRoundsToNext = 999.5;  // three digits of more than this are 1000
  std::size_t prefix = 0;
  for (; flops >= kRoundsToNext && prefix + 1 < kPrefixes.size(); ++prefix) flops /= 1000;
  return fmt::format("{:.3g} {}FLOP", flops, kPrefixes[prefix]);
}

}  // namespace vorta::harness
