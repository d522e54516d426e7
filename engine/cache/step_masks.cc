// SPDX-License-Identifier: Apache-2.0
// Masks that say before sampling at which steps a cache may reuse, or must: cache-dit's named ones, and given ones.
#include "engine/base/error.h"
#include "engine/cache/caches.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace vorta::engine {
namespace {

// Steps computed and reused by turns, as cache-dit publishes them for schedules of 28 steps.
struct StepRuns {
  std::vector<int64_t> computed, reused;

  int64_t steps() const {
    return std::accumulate(computed.begin(), computed.end(), int64_t{0}) +
           std::accumulate(reused.begin(), reused.end(), int64_t{0});
  }
};
struct NamedRuns {
  std::string_view name;
  StepRuns runs, of_ten, of_nine, of_eight;  // for 28 steps, 10 to 15, 9, 8
};

const std::vector<NamedRuns>& named_runs() {
  static const std::vector<NamedRuns> kRuns{{"slow",
                                             {{8, 3, 3, 2, 1, 1}, {1, 2, 2, 2, 3}},
                                             {{4, 2, 2, 2, 1}, {1, 1, 1, 1}},
                                             {{5, 2, 1}, {1}},
                                             {{5, 1, 1}, {1}}},
                                            {"medium",
                                             {{6, 2, 2, 2, 2, 1}, {1, 3, 3, 3, 3}},
                                             {{4, 2, 1, 1, 1}, {1, 1, 2, 2}},
                                             {{5, 1, 1}, {1, 1}},
                                             {{4, 1, 1}, {1, 1}}},
                                            {"fast",
                                             {{6, 1, 1, 1, 1, 1}, {1, 3, 4, 5, 4}},
                                             {{3, 1, 1, 1, 1}, {1, 2, 2, 3}},
                                             {{4, 1, 1}, {1, 2}},
                                             {{3, 1, 1}, {1, 2}}},
                                            {"ultra",
                                             {{4, 1, 1, 1, 1}, {2, 5, 6, 7}},
                                             {{2, 1, 1, 1, 1}, {1, 2, 3, 3}},
                                             {{3, 1, 1}, {2, 2}},
                                             {{2, 1, 1}, {2, 2}}}};
  return kRuns;
}

constexpr int64_t kRunSteps = 28;

// Longer schedules: every run grows by half its length for each 28 steps, in order, until there are enough.
void grow(StepRuns& runs, int64_t steps) {
  const StepRuns start = runs;
  const double share = static_cast<double>(steps) / kRunSteps * 0.5;
  const auto longer = [&](int64_t by) {
    return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(by) * share));
  };
  while (runs.steps() < steps) {
    for (size_t i = 0; i < start.reused.size() && runs.steps() < steps; ++i) {
      runs.computed[i] += longer(start.computed[i]);
      if (runs.steps() < steps) runs.reused[i] += longer(start.reused[i]);
    }
    if (runs.steps() < steps) ++runs.computed.back();
  }
}

// Shorter ones: the last reused and the last computed run lose a step by turns.
void cut(StepRuns& runs, int64_t steps) {
  const auto shorten = [&](std::vector<int64_t>& last) {
    if (runs.steps() > steps && !last.empty() && --last.back() == 0) last.pop_back();
  };
  while (runs.steps() > steps) {
    shorten(runs.reused);
    shorten(runs.computed);
  }
}

StepMask named_mask(const NamedRuns& named, int64_t steps, const std::string& where) {
  StepRuns runs = steps >= 16 ? named.runs : steps >= 10 ? named.of_ten : steps == 9 ? named.of_nine : named.of_eight;
  if (steps == 6) runs = {{3, 1}, {2}};
  if (steps == 4) runs = {{2, 1}, {1}};
  if (steps < 8 && steps != 6 && steps != 4) {
    throw ConfigError(
        where, fmt::format("mask \"{}\" is known for 4, 6 and from 8 steps on, found {}; give X and . for each step",
                           named.name, steps));
  }
  if (steps > kRunSteps) grow(runs, steps);
  cut(runs, steps);
  StepMask mask;
  for (size_t i = 0; i < std::max(runs.computed.size(), runs.reused.size()); ++i) {
    if (i < runs.computed.size()) mask.insert(mask.end(), static_cast<size_t>(runs.computed[i]), true);
    if (i < runs.reused.size()) mask.insert(mask.end(), static_cast<size_t>(runs.reused[i]), false);
  }
  mask.back() = true;
  return mask;
}

}  // namespace

StepMask step_mask(const std::string& text, int64_t steps, const std::string& where) {
  for (const NamedRuns& named : named_runs()) {
    if (text == named.name) return named_mask(named, steps, where);
  }
  if (text.find_first_not_of("X.") != std::string::npos)
    throw ConfigError(where,
                      fmt::format("expected slow, medium, fast, ultra, or X and . for each step, found \"{}\"", text));
  if (static_cast<int64_t>(text.size()) != steps || text.front() != 'X')
    throw ConfigError(
        where, fmt::format("expected one letter for each of the {} steps, the first an X, found \"{}\"", steps, text));
  StepMask mask;
  for (const char letter : text) mask.push_back(letter == 'X');
  return mask;
}

}  // namespace vorta::engine
