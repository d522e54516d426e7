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

/// The cases of one item, in the suite's order. Items with the same variants are a group, which has Latin squares of
/// its own: `place` counts the item among the `places` of its `group`, those of other shards included.
struct PlanItem {
  size_t prompt = 0;
  uint64_t seed = 0;
  std::vector<Case> cases;
  size_t group = 0;
  size_t place = 0;
  size_t places = 1;
};

/// Items in the suite's order (prompts outer, seeds inner). Inside an item every variant that runs on it runs once.
struct Plan {
  std::vector<PlanItem> items;
  size_t case_count() const;
};

/// Order of `count` variants at place `sequence` (rounds x items) of a run: blocks of `count` places are cyclic Latin
/// squares, in which every variant takes every position once, so that drift falls on all alike; each block is shuffled
/// anew.
std::vector<size_t> latin_order(size_t count, uint64_t sequence, uint64_t seed);
/// The item's cases in the order in which they run in this round (from 0).
std::vector<const Case*> run_order(const PlanItem& item, int64_t round, uint64_t seed);
/// The seed of latin_order: from the suite's name, so that a resumed run goes on in the same order.
uint64_t order_seed(const SuiteSpec& spec);

/// Keeps the part's items, chosen by their hash: an item is in the same part whatever else the suite holds. May leave
/// none.
void keep_shard(Plan& plan, const SuiteSpec& spec, const Shard& shard);
/// What is said of a shard without items: "part 3/9 has none of the 4 items: nothing to do".
std::string empty_shard_text(const Shard& shard, size_t items);

/// Whether `--only` with these names (empty: all are) keeps a variant: named, the reference, or a control of a named
/// one.
bool is_kept(const SuiteSpec& spec, const Variant& variant, const std::vector<std::string>& only);
/// Variants of the plan, in the suite's order.
std::vector<size_t> variants_of(const Plan& plan);

/// `only`: names of variants to keep (empty: all); the reference is always kept, since every comparison needs it.
/// ConfigError on an unknown name.
Plan make_plan(const SuiteSpec& spec, const std::vector<std::string>& only = {});

/// Canonical JSON of everything that decides what `variant` generates, item apart.
std::string variant_params(const SuiteSpec& spec, const Variant& variant);

}  // namespace vorta::harness
