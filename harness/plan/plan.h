// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/suite/suite_spec.h"

namespace vorta::harness {

/// One thing to measure: a variant on an item (prompt and seed). Indexes are into the suite's lists.
struct Case {
  size_t variant = 0;
  size_t prompt = 0;
  uint64_t seed = 0;
  std::string hash;  // SHA-256 of the effective configuration, the prompt and the seed; hex
};

/// The cases of one item, in the order they run.
struct PlanItem {
  size_t prompt = 0;
  uint64_t seed = 0;
  std::vector<Case> cases;
};

/// Items in the suite's order (prompts outer, seeds inner). Inside an item every variant runs once, and the order turns by one
/// from item to item (a cyclic Latin square), so that a slow drift of the machine falls on all variants alike.
struct Plan {
  std::vector<PlanItem> items;
  size_t case_count() const;
};

/// `only`: names of variants to keep (empty: all); the reference is always kept, since every comparison needs it.
/// ConfigError on an unknown name.
Plan make_plan(const SuiteSpec& spec, const std::vector<std::string>& only = {});

/// Canonical JSON of everything that decides what `variant` generates, item apart.
std::string variant_params(const SuiteSpec& spec, const Variant& variant);

}  // namespace vorta::harness
