// SPDX-License-Identifier: Apache-2.0
#include "kernels/coreset_selection/coreset_selection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

using Row = std::vector<float>;

float rounded(float value) { return to_float(to_bfloat16(value)); }

struct Head {
  int64_t batch;
  int64_t selected;
  int64_t id;
};

Head head_of(const CoresetSelectionArgs& args, int64_t unit) {
  const int64_t selected = unit % args.head_count;
  return {unit / args.head_count, selected, args.heads == nullptr ? selected : args.heads[selected]};
}

int64_t offset(const RowView& view, const Head& head, int64_t row) {
  return head.batch * view.batch_stride + head.id * view.head_stride + row * view.row_stride;
}

Row unit_row(const CoresetSelectionArgs& args, const Head& head, int64_t row) {
  const auto* x = static_cast<const BFloat16Bits*>(args.x.data) + offset(args.x, head, row);
  float square = 0;
  for (int64_t d = 0; d < args.head_dim; ++d) square += to_float(x[d]) * to_float(x[d]);
  const float norm = std::max(rounded(std::sqrt(square)), rounded(1e-12f));
  Row unit;
  for (int64_t d = 0; d < args.head_dim; ++d) unit.push_back(rounded(to_float(x[d]) / norm));
  return unit;
}

float similarity(const Row& a, const Row& b) {
  float dot = 0;
  for (std::size_t d = 0; d < a.size(); ++d) dot += a[d] * b[d];
  return rounded(dot);
}

void select_group(const CoresetSelectionArgs& args, const Head& head, int64_t group, int32_t* order) {
  const int32_t* rows = args.member_rows + group * args.members;
  const Row center = unit_row(args, head, rows[args.center]);
  std::vector<std::pair<float, int32_t>> ranked;
  for (int64_t m = 0; m < args.members; ++m) {
    if (m != args.center) ranked.emplace_back(similarity(center, unit_row(args, head, rows[m])), rows[m]);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
    return a.first < b.first || (std::isnan(b.first) && !std::isnan(a.first));
  });
  const int64_t merged = args.members - 1 - args.kept;
  order[group] = rows[args.center];
  for (int64_t rank = 0; rank < args.members - 1; ++rank) {
    const int64_t at = rank < args.kept ? args.groups + group * args.kept + rank
                                        : args.groups * (1 + args.kept) + group * merged + rank - args.kept;
    order[at] = ranked[rank].second;
  }
}

}  // namespace

void coreset_selection_reference(const CoresetSelectionArgs& args) {
  for (int64_t unit = 0; unit < args.batch * args.head_count; ++unit) {
    int32_t* order = args.order + unit * args.groups * args.members;
    for (int64_t group = 0; group < args.groups; ++group) select_group(args, head_of(args, unit), group, order);
  }
}

void spread_centers(const CoresetSelectionArgs& args, const RowView& out, std::size_t element_bytes) {
  const int64_t merged = args.members - 1 - args.kept;
  const std::size_t row_bytes = static_cast<std::size_t>(args.head_dim) * element_bytes;
  const auto row = [&](const Head& head, int64_t at) {
    return static_cast<std::byte*>(out.data) + offset(out, head, at) * static_cast<int64_t>(element_bytes);
  };
#pragma omp parallel for schedule(static)
  for (int64_t unit = 0; unit < args.batch * args.head_count; ++unit) {
    const Head head = head_of(args, unit);
    const int32_t* order = args.order + unit * args.groups * args.members;
    const int32_t* dropped = order + args.groups * (1 + args.kept);
    for (int64_t i = 0; i < args.groups * merged; ++i) {
      std::memcpy(row(head, dropped[i]), row(head, order[i / merged]), row_bytes);
    }
  }
}

}  // namespace vorta::kernels
