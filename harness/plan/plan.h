// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/plan/shard.h"
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

/// Items in the suite's order (prompts outer, seeds inner). Inside an item every variant runs once, in latin_order of the
/// first round.
struct Plan {
  std::vector<PlanItem> items;
  size_t case_count() const;
};

/// Order of `count` variants at place `sequence` (rounds x items) of a run: blocks of `count` places are cyclic Latin squares,
/// in which every variant takes every position once, so that drift falls on all alike; each block is shuffled anew.
std::vector<size_t> latin_order(size_t count, uint64_t sequence, uint64_t seed);
/// The seed of latin_order: from the suite's name, so that a resumed run goes on in the same order.
uint64_t order_seed(const SuiteSpec& spec);

/// Keeps the part's items, chosen by their hash: an item is in the same part whatever else the suite holds. May leave none.
void keep_shard(Plan& plan, const SuiteSpec& spec, const Shard& shard);

/// `only`: names of variants to keep (empty: all); the reference is always kept, since every comparison needs it.
/// ConfigError on an unknown name.
Plan make_plan(const SuiteSpec& spec, const std::vector<std::string>& only = {});

/// Canonical JSON of everything that decides what `variant` generates, item apart.
std::string variant_params(const SuiteSpec& spec, const Variant& variant);

}  // namespace vorta::harness
