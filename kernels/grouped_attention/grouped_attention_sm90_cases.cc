// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_attention/grouped_attention_sm90_cases.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vorta::kernels {
namespace {

struct TileRun {
  int32_t first;
  int32_t last;
};

/// Neighbouring query tiles of one axis that see the same tiles of it.
struct Slab {
  TileRun queries;
  TileRun keys;
};

std::vector<Slab> slabs_of(int32_t tiles) {
  std::vector<Slab> slabs;
  for (int32_t tile = 0; tile < tiles; ++tile) {
    const int32_t center = std::min(std::max(tile, 1), tiles - 2);
    const TileRun seen{std::max(center - 1, 0), std::min(center + 1, tiles - 1)};
    if (!slabs.empty() && slabs.back().keys.first == seen.first && slabs.back().keys.last == seen.last) {
      slabs.back().queries.last = tile;
    } else {
      slabs.push_back({{tile, tile}, seen});
    }
  }
  return slabs;
}

/// The raster row of each row in tile order.
std::vector<int32_t> raster_rows(const Sm90Tiles& t) {
  const int32_t height = t.tiles[1] * t.tile[1], width = t.tiles[2] * t.tile[2];
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < t.tiles[0]; ++i)
    for (int32_t j = 0; j < t.tiles[1]; ++j)
      for (int32_t k = 0; k < t.tiles[2]; ++k)
        for (int32_t f = i * t.tile[0]; f < (i + 1) * t.tile[0]; ++f)
          for (int32_t y = j * t.tile[1]; y < (j + 1) * t.tile[1]; ++y)
            for (int32_t x = k * t.tile[2]; x < (k + 1) * t.tile[2]; ++x) rows.push_back((f * height + y) * width + x);
  return rows;
}

class SlidingMask {
 public:
  SlidingMask(const Sm90Tiles& tiles, Sm90Case& out)
      : tiles_(tiles),
        out_(out),
        tile_rows_(tiles.tile[0] * tiles.tile[1] * tiles.tile[2]),
        tokens_(tiles.tiles[0] * tiles.tiles[1] * tiles.tiles[2] * tile_rows_) {
    out_.rows = tokens_ + tiles.text;
    for (const Slab& t : slabs_of(tiles.tiles[0]))
      for (const Slab& h : slabs_of(tiles.tiles[1]))
        for (const Slab& w : slabs_of(tiles.tiles[2])) append_group(t, h, w);
    if (tiles.text > 0) append_text_group();
    if (tiles.order == Sm90Tiles::Order::kRaster) apply_raster_order();
  }

 private:
  int32_t first_row(int32_t t, int32_t h, int32_t w) const {
    return ((t * tiles_.tiles[1] + h) * tiles_.tiles[2] + w) * tile_rows_;
  }

  void append_group(const Slab& t, const Slab& h, const Slab& w) {
    QueryGroup group;
    group.query_begin = static_cast<int32_t>(out_.query_map.size());
    group.first_range = static_cast<int32_t>(out_.ranges.size());
    for (int32_t i = t.queries.first; i <= t.queries.last; ++i)
      for (int32_t j = h.queries.first; j <= h.queries.last; ++j)
        for (int32_t row = first_row(i, j, w.queries.first); row < first_row(i, j, w.queries.last + 1); ++row)
          out_.query_map.push_back(row);
    for (int32_t i = t.keys.first; i <= t.keys.last; ++i)
      for (int32_t j = h.keys.first; j <= h.keys.last; ++j)
        out_.ranges.push_back({first_row(i, j, w.keys.first), first_row(i, j, w.keys.last + 1)});
    if (tiles_.text_keys > 0) out_.ranges.push_back({tokens_, tokens_ + tiles_.text_keys});
    group.query_end = static_cast<int32_t>(out_.query_map.size());
    group.range_count = static_cast<int32_t>(out_.ranges.size()) - group.first_range;
    out_.groups.push_back(group);
  }

  void append_text_group() {
    out_.groups.push_back({tokens_, tokens_ + tiles_.text, static_cast<int32_t>(out_.ranges.size()), 1});
    out_.ranges.push_back({0, tokens_ + tiles_.text_keys});
    for (int32_t i = 0; i < tiles_.text; ++i) out_.query_map.push_back(tokens_ + i);
  }

  void apply_raster_order() {
    out_.key_map = raster_rows(tiles_);
    for (int32_t i = 0; i < tiles_.text; ++i) out_.key_map.push_back(tokens_ + i);
    for (int32_t& row : out_.query_map) row = out_.key_map[row];
  }

  const Sm90Tiles& tiles_;
  Sm90Case& out_;
  int32_t tile_rows_;
  int32_t tokens_;
};

}  // namespace

GroupedAttentionArgs Sm90Case::args() const {
  GroupedAttentionArgs args;
  args.dtype = DType::kBFloat16;
  args.batch = batch;
  args.head_count = heads;
  args.head_dim = head_dim;
  args.query_rows = args.key_rows = rows;
  RowView view;
  view.batch_stride = heads * rows * head_dim;
  view.head_stride = head_major ? rows * head_dim : head_dim;
  view.row_stride = head_major ? head_dim : heads * head_dim;
  args.q = args.k = args.v = args.out = view;
  if (!query_map.empty()) args.query_map.rows = query_map.data();
  if (!key_map.empty()) args.key_map.rows = key_map.data();
  args.groups = groups.data();
  args.group_count = static_cast<int64_t>(groups.size());
  args.ranges = ranges.data();
  args.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  return args;
}

Sm90Case sm90_dense_case(std::string name, int64_t batch, int64_t heads, int32_t rows) {
  Sm90Case out;
  out.name = std::move(name);
  out.batch = batch;
  out.heads = heads;
  out.rows = rows;
  out.groups = {{0, rows, 0, 1}};
  out.ranges = {{0, rows}};
  return out;
}

Sm90Case sm90_sliding_case(std::string name, int64_t batch, int64_t heads, const Sm90Tiles& tiles) {
  Sm90Case out;
  out.name = std::move(name);
  out.batch = batch;
  out.heads = heads;
  SlidingMask(tiles, out);
  return out;
}

std::vector<Sm90Case> sm90_parity_cases() {
  std::vector<Sm90Case> cases{
      sm90_dense_case("one row", 1, 1, 1), sm90_dense_case("dense 77 rows, head-major", 2, 2, 77),
      sm90_dense_case("dense 1,000 rows, batch 2", 2, 3, 1000), sm90_dense_case("dense 2,115 rows", 1, 2, 2115)};
  cases[1].head_major = true;
  Sm90Case& ragged = cases.emplace_back(sm90_dense_case("ragged ranges and groups without keys", 1, 2, 700));
  ragged.groups = {{0, 100, 0, 0}, {100, 163, 0, 1}, {163, 400, 1, 3}, {410, 600, 0, 4}};  // rows 400-409: in none
  ragged.ranges = {{3, 8}, {11, 250}, {252, 253}, {301, 700}};
  cases.push_back(sm90_sliding_case("tiles of 360, batch 2", 2, 2, {{3, 4, 5}, {5, 9, 8}}));
  cases.push_back(
      sm90_sliding_case("tiles of 360, raster order", 1, 1, {{3, 3, 4}, {5, 9, 8}, 0, 0, Sm90Tiles::Order::kRaster}));
  cases.push_back(sm90_sliding_case("tiles of 432 and 200 of 256 text rows", 2, 1, {{4, 3, 4}, {6, 9, 8}, 256, 200}));
  cases.push_back(sm90_sliding_case("tiles of 432 and 77 of 83 text rows", 1, 2, {{4, 3, 4}, {6, 9, 8}, 83, 77}));
  cases.push_back(sm90_sliding_case("tiles of 64", 1, 3, {{5, 4, 6}, {4, 4, 4}}));
  cases.push_back(sm90_sliding_case("tiles of 8", 1, 2, {{5, 4, 6}, {2, 2, 2}}));
  cases.push_back(sm90_sliding_case("tiles of 160, text for 24 heads", 1, 24, {{3, 3, 5}, {4, 10, 4}, 50, 41}));
  cases.push_back(sm90_sliding_case("tiles of 45", 2, 2, {{4, 3, 4}, {3, 5, 3}}));
  const std::size_t wide = cases.size();
  for (std::size_t i = 0; i < wide; ++i) {
    cases.push_back(cases[i]);
    cases.back().name += ", head dim 64";
    cases.back().head_dim = 64;
  }
  return cases;
}

std::vector<Sm90Case> sm90_small_cases() {
  std::vector<Sm90Case> cases{sm90_dense_case("dense 300 rows, batch 2, head-major", 2, 1, 300)};
  cases[0].head_major = true;
  Sm90Case& ragged = cases.emplace_back(sm90_dense_case("ragged ranges and a group without keys", 1, 1, 300));
  ragged.groups = {{0, 40, 0, 0}, {40, 103, 0, 1}, {103, 290, 0, 3}};  // the last rows: in none
  ragged.ranges = {{3, 8}, {11, 150}, {152, 300}};
  cases.push_back(sm90_sliding_case("tiles of 24, 33 of 40 text rows", 1, 2, {{3, 3, 4}, {2, 3, 4}, 40, 33}));
  cases.push_back(
      sm90_sliding_case("tiles of 48, raster order", 1, 1, {{3, 3, 3}, {2, 3, 8}, 0, 0, Sm90Tiles::Order::kRaster}));
  const std::size_t wide = cases.size();
  for (std::size_t i = 0; i < wide; ++i) {
    cases.push_back(cases[i]);
    cases.back().name += ", head dim 64";
    cases.back().head_dim = 64;
  }
  return cases;
}

std::vector<Sm90Case> sm90_bench_cases() {
  const auto narrow = [](const char* name, int64_t heads, int32_t rows) {
    Sm90Case out = sm90_dense_case(name, 1, heads, rows);
    out.head_dim = 64;
    return out;
  };
  return {sm90_sliding_case("sliding/wan_72000x40", 1, 40, {{4, 5, 10}, {5, 9, 8}}),
          sm90_sliding_case("sliding/hunyuan_108256x24", 1, 24, {{5, 5, 10}, {6, 9, 8}, 256, 256}),
          sm90_dense_case("dense/wan_72000x40", 1, 40, 72000),
          sm90_dense_case("coreset/wan_36000x40", 1, 40, 36000),
          sm90_sliding_case("sliding/wan_31200x12", 1, 12, {{5, 3, 13}, {4, 10, 4}}),
          sm90_dense_case("dense/wan_31200x12", 1, 12, 31200),
          sm90_dense_case("coreset/wan_15600x12", 1, 12, 15600),
          narrow("dense/32768x24x64", 24, 32768)};
}

}  // namespace vorta::kernels
