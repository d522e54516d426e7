// SPDX-License-Identifier: Apache-2.0
// Lists of key blocks and query rows for the Hopper kernel. The copy engine moves boxes of a fixed
// number of rows, and few wide boxes are cheaper than many narrow ones: every range is cut into the
// widest boxes that fit, and boxes of the same width are put together, from whatever ranges, since
// a softmax does not care about the order of its keys.
#include "kernels/grouped_attention/grouped_attention_sm90.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace vorta::kernels {
namespace {

constexpr int kPieceRows = 8;  // what the swizzle of shared memory keeps together

bool same_rows_everywhere(const RowMap& map) {
  return map.rows == nullptr || (map.batch_stride == 0 && map.head_stride == 0);
}

int32_t row_of(const RowMap& map, int32_t row) { return map.rows == nullptr ? row : map.rows[row]; }

/// Boxes of one key list, sorted by their class.
struct Boxes {
  std::array<std::vector<int32_t>, kSm90BoxClasses> first_rows;
  std::vector<std::pair<int32_t, int32_t>> partial_pieces;  // first row, number of keys that count (below 8)
};

class KeyBlockWriter {
 public:
  explicit KeyBlockWriter(int32_t key_rows) : zero_row_(key_rows) {}

  /// Appends the blocks of `boxes` and returns how many of them have no mask.
  int32_t append(Boxes boxes, std::vector<Sm90KeyBlockRows>& out) const {
    const auto first = out.size();
    for (int box_class = 0; box_class < kSm90BoxClasses; ++box_class) {
      std::vector<int32_t>& rows = boxes.first_rows[box_class];
      const auto per_block = static_cast<std::size_t>(kSm90KeyBlock / kSm90BoxRows[box_class]);
      std::size_t done = 0;
      for (; done + per_block <= rows.size(); done += per_block) {
        out.push_back(full_block(box_class, rows.data() + done, static_cast<int>(per_block)));
      }
      for (; done < rows.size() && box_class + 1 < kSm90BoxClasses; ++done) {
        split(rows[done], kSm90BoxRows[box_class], box_class + 1, boxes);
      }
      rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(done));
    }
    const auto unmasked = static_cast<int32_t>(out.size() - first);
    append_masked(boxes, out);
    return unmasked;
  }

  /// Cuts `count` consecutive rows into boxes of class `box_class` and narrower.
  void split(int32_t row, int32_t count, int box_class, Boxes& boxes) const {
    for (; box_class < kSm90BoxClasses; ++box_class) {
      for (; count >= kSm90BoxRows[box_class]; count -= kSm90BoxRows[box_class]) {
        boxes.first_rows[box_class].push_back(row);
        row += kSm90BoxRows[box_class];
      }
    }
    if (count > 0) boxes.partial_pieces.emplace_back(row, count);
  }

 private:
  Sm90KeyBlockRows full_block(int box_class, const int32_t* rows, int count) const {
    Sm90KeyBlockRows block{};
    std::copy_n(rows, count, block.first_row);
    for (int piece = 0; piece < kSm90KeyBlock / kPieceRows; ++piece) set_valid(block, piece, kPieceRows);
    block.box_class = box_class;
    return block;
  }

  // What is left over: pieces of 8 rows, whole ones first, padded with rows of zeros that do not
  // count.
  void append_masked(const Boxes& boxes, std::vector<Sm90KeyBlockRows>& out) const {
    std::vector<std::pair<int32_t, int32_t>> pieces;
    for (const int32_t row : boxes.first_rows[kSm90BoxClasses - 1]) pieces.emplace_back(row, kPieceRows);
    pieces.insert(pieces.end(), boxes.partial_pieces.begin(), boxes.partial_pieces.end());
    const int per_block = kSm90KeyBlock / kPieceRows;
    for (std::size_t next = 0; next < pieces.size(); next += static_cast<std::size_t>(per_block)) {
      Sm90KeyBlockRows block{};
      block.box_class = kSm90BoxClasses - 1;
      for (int piece = 0; piece < per_block; ++piece) {
        const std::size_t at = next + static_cast<std::size_t>(piece);
        block.first_row[piece] = at < pieces.size() ? pieces[at].first : zero_row_;
        set_valid(block, piece, at < pieces.size() ? pieces[at].second : 0);
      }
      out.push_back(block);
    }
  }

  static void set_valid(Sm90KeyBlockRows& block, int piece, int32_t keys) {
    block.valid[piece / 8] |= static_cast<uint32_t>(keys) << (piece % 8 * 4);
  }

  int32_t zero_row_;
};

struct Run {
  int32_t row;
  int32_t count;
};

/// A group's key rows as runs of consecutive ones, across ranges, too. Empty: the row map breaks a
/// range into pieces that are no whole number of eights, which the kernel would read in slivers.
std::optional<std::vector<Run>> runs_of(const GroupedAttentionArgs& args, const QueryGroup& group) {
  std::vector<Run> runs;
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    int32_t begin = args.ranges[r].begin;
    while (begin < args.ranges[r].end) {
      const int32_t row = row_of(args.key_map, begin);
      int32_t end = begin + 1;
      while (end < args.ranges[r].end && row_of(args.key_map, end) == row + (end - begin)) ++end;
      if (end < args.ranges[r].end && (end - begin) % kPieceRows != 0) return std::nullopt;
      const bool continues = !runs.empty() && runs.back().row + runs.back().count == row;
      if (continues) runs.back().count += end - begin;
      else runs.push_back({row, end - begin});
      begin = end;
    }
  }
  return runs;
}

int64_t key_count(const GroupedAttentionArgs& args, const QueryGroup& group) {
  int64_t keys = 0;
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    keys += std::max(0, args.ranges[r].end - args.ranges[r].begin);
  }
  return keys;
}

constexpr int kWarpgroupRows = 64;

struct PlannedPart {
  Sm90ItemPart part;
  std::array<int32_t, kSm90QueryRows> rows{};  // rows[part.row_count] and on are pads
};

using PlannedItem = std::array<PlannedPart, kSm90Parts>;

PlannedPart part_of(const GroupedAttentionArgs& args, const QueryGroup& group, const Sm90ItemPart& keys,
                    int32_t begin) {
  PlannedPart planned;
  planned.part = keys;
  planned.part.row_count = std::clamp(group.query_end - begin, 0, kSm90QueryRows);
  const int32_t pad = ~row_of(args.query_map, group.query_begin);
  for (int32_t i = 0; i < kSm90QueryRows; ++i) {
    planned.rows[i] = i < planned.part.row_count ? row_of(args.query_map, begin + i) : pad;
  }
  return planned;
}

/// Cuts a group into items. What is left over and fits one block goes to `halves`. A second block
/// with few rows stays with the first: idle warpgroups draw no power, keys read twice do.
void append_items(const GroupedAttentionArgs& args, const QueryGroup& group, const Sm90ItemPart& keys,
                  std::vector<PlannedItem>& items, std::vector<PlannedPart>& halves) {
  for (int32_t begin = group.query_begin; begin < group.query_end; begin += kSm90Parts * kSm90QueryRows) {
    const PlannedPart first = part_of(args, group, keys, begin);
    if (group.query_end - begin <= kSm90QueryRows) halves.push_back(first);
    else items.push_back({first, part_of(args, group, keys, begin + kSm90QueryRows)});
  }
}

int32_t warpgroups(const PlannedPart& planned) {
  return (planned.part.row_count + kWarpgroupRows - 1) / kWarpgroupRows;
}

/// Two halves make an item when their lists are as long as each other, whatever they hold. A half
/// that finds no partner gets one without queries.
void pair_halves(std::vector<PlannedPart> halves, std::vector<PlannedItem>& items) {
  const auto key = [](const PlannedPart& half) { return std::pair(half.part.block_count, warpgroups(half)); };
  std::stable_sort(halves.begin(), halves.end(),
                   [&](const PlannedPart& a, const PlannedPart& b) { return key(a) > key(b); });
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const bool paired = i + 1 < halves.size() && halves[i + 1].part.block_count == halves[i].part.block_count;
    PlannedPart idle = halves[i];
    idle.part.row_count = 0;
    for (int32_t& row : idle.rows) row = std::min(row, ~row);
    items.push_back({halves[i], paired ? halves[i + 1] : idle});
    if (paired) ++i;
  }
}

template <typename Record>
int64_t append_words(const std::vector<Record>& records, std::vector<int32_t>& tables) {
  const auto at = static_cast<int64_t>(tables.size());
  const auto* words = reinterpret_cast<const int32_t*>(records.data());
  tables.insert(tables.end(), words, words + records.size() * sizeof(Record) / sizeof(int32_t));
  return at;
}

void write_tables(const std::vector<Sm90KeyBlockRows>& blocks, std::vector<PlannedItem>& items,
                  Sm90AttentionPlan& plan) {
  const auto length = [](const PlannedItem& item) { return item.front().part.block_count; };
  // Longest first, so that no long item is left for the end.
  std::stable_sort(items.begin(), items.end(),
                   [&](const PlannedItem& a, const PlannedItem& b) { return length(a) > length(b); });
  plan.item_count = static_cast<int32_t>(items.size());
  if (!items.empty()) {
    const int32_t usual = length(items[items.size() / 2]);
    const auto rest =
        std::find_if(items.begin(), items.end(), [&](const PlannedItem& item) { return length(item) <= 2 * usual; });
    plan.long_items = static_cast<int32_t>(rest - items.begin());
    int64_t blocks_of_long = 0;
    for (auto item = items.begin(); item != rest; ++item) blocks_of_long += length(*item);
    const int64_t blocks_of_usual = int64_t{std::max(usual, 1)} * std::max(plan.long_items, 1);
    plan.long_weight =
        static_cast<int32_t>(std::max<int64_t>(1, (blocks_of_long + blocks_of_usual / 2) / blocks_of_usual));
  }
  append_words(blocks, plan.tables);
  std::vector<Sm90ItemPart> parts;
  std::vector<std::array<int32_t, kSm90QueryRows>> rows;
  for (const PlannedItem& item : items) {
    for (const PlannedPart& planned : item) {
      parts.push_back(planned.part);
      rows.push_back(planned.rows);
      const double keys = static_cast<double>(planned.part.block_count) * kSm90KeyBlock;
      plan.computed_pairs += keys * kWarpgroupRows * warpgroups(planned);
    }
  }
  plan.items_at = append_words(parts, plan.tables);
  plan.rows_at = append_words(rows, plan.tables);
}

}  // namespace

std::optional<Sm90AttentionPlan> plan_grouped_attention_sm90(const GroupedAttentionArgs& args) {
  const bool applies = args.dtype == DType::kBFloat16 && sm90_takes_head_dim(args.head_dim) &&
                       same_rows_everywhere(args.query_map) && same_rows_everywhere(args.key_map);
  if (!applies) return std::nullopt;
  Sm90AttentionPlan plan;
  plan.query_rows = args.query_rows;
  plan.key_rows = args.key_rows;
  const KeyBlockWriter writer(static_cast<int32_t>(args.key_rows));
  std::vector<Sm90KeyBlockRows> blocks;
  std::vector<PlannedItem> items;
  std::vector<PlannedPart> halves;
  std::map<std::pair<int32_t, int32_t>, Sm90ItemPart> known_lists;  // groups often share one
  for (int64_t g = 0; g < args.group_count; ++g) {
    const QueryGroup& group = args.groups[g];
    const auto [known, is_new] = known_lists.try_emplace({group.first_range, group.range_count});
    if (is_new) {
      const auto runs = runs_of(args, group);
      if (!runs.has_value()) return std::nullopt;
      Boxes boxes;
      for (const Run& run : *runs) writer.split(run.row, run.count, 0, boxes);
      known->second.first_block = static_cast<int32_t>(blocks.size());
      known->second.masked_from = writer.append(std::move(boxes), blocks);
      known->second.block_count = static_cast<int32_t>(blocks.size()) - known->second.first_block;
    }
    append_items(args, group, known->second, items, halves);
    plan.useful_pairs +=
        static_cast<double>(group.query_end - group.query_begin) * static_cast<double>(key_count(args, group));
  }
  pair_halves(std::move(halves), items);
  write_tables(blocks, items, plan);
  return plan;
}

}  // namespace vorta::kernels
