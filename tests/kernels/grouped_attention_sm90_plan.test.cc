// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_attention/grouped_attention_sm90.h"
#include "kernels/grouped_attention/turns.h"
#include "tests/support/catch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>

using namespace vorta::kernels;

namespace {

struct Mask {
  int32_t rows = 0;
  std::vector<QueryGroup> groups{};
  std::vector<RowRange> ranges{};
  std::vector<int32_t> query_map{};
  std::vector<int32_t> key_map{};

  GroupedAttentionArgs args() const {
    GroupedAttentionArgs args;
    args.dtype = DType::kBFloat16;
    args.batch = args.head_count = 1;
    args.head_dim = 128;
    args.query_rows = args.key_rows = rows;
    args.query_map = {query_map.empty() ? nullptr : query_map.data(), 0, 0};
    args.key_map = {key_map.empty() ? nullptr : key_map.data(), 0, 0};
    args.groups = groups.data();
    args.group_count = static_cast<int64_t>(groups.size());
    args.ranges = ranges.data();
    args.scale = 1;
    return args;
  }
};

Sm90KeyBlockRows block_at(const Sm90AttentionPlan& plan, int32_t index) {
  Sm90KeyBlockRows block;
  std::memcpy(&block, plan.tables.data() + index * (sizeof(block) / sizeof(int32_t)), sizeof(block));
  return block;
}

Sm90ItemPart part_at(const Sm90AttentionPlan& plan, int32_t index) {
  Sm90ItemPart item;
  std::memcpy(static_cast<void*>(&item), plan.tables.data() + plan.items_at + index * (sizeof(item) / sizeof(int32_t)),
              sizeof(item));
  return item;
}

// The rows whose keys count, as the kernel reads a list: box after box, piece after piece.
std::vector<int32_t> rows_of(const Sm90AttentionPlan& plan, const Sm90ItemPart& item) {
  std::vector<int32_t> rows;
  for (int32_t b = 0; b < item.block_count; ++b) {
    const Sm90KeyBlockRows block = block_at(plan, item.first_block + b);
    const int32_t box = kSm90BoxRows[block.box_class];
    for (int32_t i = 0; i < kSm90KeyBlock; ++i) {
      const int32_t row = block.first_row[i / box] + i % box;
      const int32_t valid = static_cast<int32_t>(block.valid[i / 64] >> (i / 8 % 8 * 4) & 15);
      if (b < item.masked_from) CHECK(valid == 8);
      if (i % 8 < valid) rows.push_back(row);
    }
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<int32_t> expected_rows(const Mask& mask, const QueryGroup& group) {
  std::vector<int32_t> rows;
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    for (int32_t key = mask.ranges[r].begin; key < mask.ranges[r].end; ++key) {
      rows.push_back(mask.key_map.empty() ? key : mask.key_map[key]);
    }
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

// Every query of every group is in exactly one item, whose list holds the group's keys and no
// other.
void check_plan(const Mask& mask) {
  const auto plan = plan_grouped_attention_sm90(mask.args());
  REQUIRE(plan.has_value());
  std::vector<std::vector<int32_t>> keys_of_row(mask.rows);
  std::set<int32_t> planned;
  for (int32_t i = 0; i < plan->item_count * kSm90Parts; ++i) {
    const Sm90ItemPart item = part_at(*plan, i);
    REQUIRE(item.row_count >= (i % kSm90Parts == 0 ? 1 : 0));
    REQUIRE(item.row_count <= kSm90QueryRows);
    REQUIRE(item.block_count == part_at(*plan, i / kSm90Parts * kSm90Parts).block_count);
    const std::vector<int32_t> keys = rows_of(*plan, item);
    for (int32_t q = 0; q < kSm90QueryRows; ++q) {
      const int32_t row = plan->tables[plan->rows_at + i * kSm90QueryRows + q];
      CHECK((row >= 0) == (q < item.row_count));
      REQUIRE(std::max(row, ~row) < mask.rows);
      if (row < 0) continue;
      CHECK(planned.insert(row).second);
      keys_of_row[row] = keys;
    }
  }
  std::size_t expected_count = 0;
  for (const QueryGroup& group : mask.groups) {
    const std::vector<int32_t> expected = expected_rows(mask, group);
    for (int32_t q = group.query_begin; q < group.query_end; ++q, ++expected_count) {
      const int32_t row = mask.query_map.empty() ? q : mask.query_map[q];
      CHECK(keys_of_row[row] == expected);
    }
  }
  CHECK(planned.size() == expected_count);
}

// Tiles in a row, of which each sees three: the shape of a window, on one axis.
Mask tiles_in_a_row(int32_t tile, int32_t tiles, int32_t text) {
  Mask mask{.rows = tile * tiles + text};
  for (int32_t t = 0; t < tiles; ++t) {
    const int32_t first = std::clamp(t - 1, 0, tiles - 3);
    mask.groups.push_back({t * tile, (t + 1) * tile, static_cast<int32_t>(mask.ranges.size()), text > 0 ? 4 : 3});
    for (int32_t seen = first; seen < first + 3; ++seen) mask.ranges.push_back({seen * tile, (seen + 1) * tile});
    if (text > 0) mask.ranges.push_back({tile * tiles, mask.rows});
  }
  if (text > 0) {
    mask.groups.push_back({tile * tiles, mask.rows, static_cast<int32_t>(mask.ranges.size()), 1});
    mask.ranges.push_back({0, mask.rows});
  }
  return mask;
}

}  // namespace

TEST_CASE("a Hopper plan gives every query its keys and no others", "[kernels][parity]") {
  check_plan({.rows = 1, .groups = {{0, 1, 0, 1}}, .ranges = {{0, 1}}});
  check_plan({.rows = 1000, .groups = {{0, 1000, 0, 1}}, .ranges = {{0, 1000}}});
  check_plan({.rows = 700,
              .groups = {{0, 100, 0, 0}, {100, 163, 0, 1}, {163, 400, 1, 3}, {410, 600, 0, 4}},
              .ranges = {{3, 8}, {11, 250}, {252, 253}, {301, 700}}});
  for (const int32_t tile : {8, 64, 216, 360, 432}) {
    check_plan(tiles_in_a_row(tile, 5, 0));
    check_plan(tiles_in_a_row(tile, 5, 77));
  }
}

TEST_CASE("a Hopper plan follows row maps", "[kernels][parity]") {
  Mask mask = tiles_in_a_row(72, 4, 0);
  for (int32_t i = 0; i < mask.rows; ++i) {
    mask.query_map.push_back(mask.rows - 1 - i);
    mask.key_map.push_back((mask.rows / 8 - 1 - i / 8) * 8 + i % 8);  // pieces of 8 in reverse order
  }
  check_plan(mask);
}

TEST_CASE("a Hopper plan loads whole tiles in the widest boxes", "[kernels][parity]") {
  const auto plan = plan_grouped_attention_sm90(tiles_in_a_row(360, 5, 0).args());
  REQUIRE(plan.has_value());
  const Sm90ItemPart item = part_at(*plan, 0);
  CHECK(item.block_count == 7);  // three neighbouring tiles, 1,080 keys, in steps of 176
  CHECK(item.masked_from == 6);
  for (int32_t b = 0; b < item.masked_from; ++b) CHECK(block_at(*plan, item.first_block + b).box_class == 0);
}

TEST_CASE("a Hopper plan puts long items first", "[kernels][parity]") {
  const auto plan = plan_grouped_attention_sm90(tiles_in_a_row(360, 40, 256).args());
  REQUIRE(plan.has_value());
  CHECK(plan->long_items == 1);
  const double ratio = static_cast<double>(part_at(*plan, 0).block_count) / part_at(*plan, 2).block_count;
  CHECK(plan->long_weight == std::lround(ratio));
  CHECK(part_at(*plan, 0).block_count > 2 * part_at(*plan, 2).block_count);
}

TEST_CASE("a Hopper plan serves both widths of head", "[kernels][parity]") {
  const Mask mask = tiles_in_a_row(360, 5, 77);
  GroupedAttentionArgs args = mask.args();
  const auto wide = plan_grouped_attention_sm90(args);
  args.head_dim = 64;
  const auto narrow = plan_grouped_attention_sm90(args);
  REQUIRE((wide.has_value() && narrow.has_value()));
  CHECK(wide->tables == narrow->tables);
}

TEST_CASE("turns deal every job once, long ones first, and no worker waits long", "[kernels][parity]") {
  struct Load {
    int long_jobs, short_jobs, weight, workers;
  };
  for (const Load& load : {Load{0, 1, 1, 66}, Load{0, 500, 1, 66}, Load{24, 10440, 9, 66}, Load{132, 3000, 9, 66},
                           Load{70, 3000, 9, 66}, Load{5, 3, 4, 8}, Load{65, 100, 9, 66}, Load{3, 40, 7, 1}}) {
    INFO(load.long_jobs << " long and " << load.short_jobs << " short jobs, " << load.workers << " workers");
    std::set<int> done;
    int least = INT32_MAX, most = 0;
    for (int worker = 0; worker < load.workers; ++worker) {
      const Turns turns(load.long_jobs, load.short_jobs, load.weight, worker, load.workers);
      REQUIRE(turns.jobs() == load.long_jobs + load.short_jobs);
      int work = 0, last = -1;
      for (int turn = 0; turns.at(turn) < turns.jobs(); ++turn) {
        const int job = turns.at(turn);
        CHECK(done.insert(job).second);
        CHECK(job > last);
        last = job;
        work += job < load.long_jobs ? load.weight : 1;
      }
      least = std::min(least, work);
      most = std::max(most, work);
    }
    CHECK(static_cast<int>(done.size()) == load.long_jobs + load.short_jobs);
    if (load.short_jobs >= load.weight * load.workers) CHECK(most - least <= 1);
  }
}

TEST_CASE("what the Hopper kernel cannot read has no plan", "[kernels][parity]") {
  Mask mask = tiles_in_a_row(360, 3, 0);
  GroupedAttentionArgs args = mask.args();
  args.dtype = DType::kFloat32;
  CHECK_FALSE(plan_grouped_attention_sm90(args).has_value());
  args = mask.args();
  args.head_dim = 96;
  CHECK_FALSE(plan_grouped_attention_sm90(args).has_value());
  mask.key_map.resize(mask.rows);
  std::iota(mask.key_map.rbegin(), mask.key_map.rend(), 0);  // no two neighbours in order
  CHECK_FALSE(plan_grouped_attention_sm90(mask.args()).has_value());
  mask.key_map.clear();
  args = mask.args();
  const std::vector<int32_t> rows_by_head(2 * static_cast<std::size_t>(mask.rows));
  args.query_map = {rows_by_head.data(), 0, mask.rows};
  CHECK_FALSE(plan_grouped_attention_sm90(args).has_value());
}
