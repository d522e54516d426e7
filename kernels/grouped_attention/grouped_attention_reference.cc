// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

float load(const GroupedAttentionArgs& args, const RowView& view, int64_t offset) {
  if (args.dtype == DType::kFloat32) return static_cast<const float*>(view.data)[offset];
  return to_float(static_cast<const BFloat16Bits*>(view.data)[offset]);
}

void store(const GroupedAttentionArgs& args, const RowView& view, int64_t offset, float value) {
  if (args.dtype == DType::kFloat32) static_cast<float*>(view.data)[offset] = value;
  else static_cast<BFloat16Bits*>(view.data)[offset] = to_bfloat16(value);
}

int64_t row_of(const RowMap& map, int64_t b, int64_t h, int64_t row) {
  return map.rows == nullptr ? row : map.rows[b * map.batch_stride + h * map.head_stride + row];
}

struct Head {
  int64_t batch;
  int64_t selected;  // position in the list of selected heads
  int64_t id;
};

int64_t offset(const RowView& view, const Head& head, int64_t row) {
  return head.batch * view.batch_stride + head.id * view.head_stride + row * view.row_stride;
}

void attend_row(const GroupedAttentionArgs& args, const Head& head, const QueryGroup& group, int64_t query) {
  const int64_t dim = args.head_dim;
  const int64_t q_at = offset(args.q, head, row_of(args.query_map, head.batch, head.selected, query));
  std::vector<int64_t> keys;
  std::vector<float> scores;
  float top = -std::numeric_limits<float>::infinity();
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    for (int32_t key = args.ranges[r].begin; key < args.ranges[r].end; ++key) {
      const int64_t row = row_of(args.key_map, head.batch, head.selected, key);
      const int64_t k_at = offset(args.k, head, row);
      float dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += load(args, args.q, q_at + d) * load(args, args.k, k_at + d);
      keys.push_back(row);
      scores.push_back(dot * args.scale);
      top = std::max(top, scores.back());
    }
  }
  std::vector<float> sum(dim, 0.0f);
  float total = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const float weight = std::exp(scores[i] - top);
    total += weight;
    const int64_t v_at = offset(args.v, head, keys[i]);
    for (int64_t d = 0; d < dim; ++d) sum[d] += weight * load(args, args.v, v_at + d);
  }
  const int64_t out_at = offset(args.out, head, row_of(args.query_map, head.batch, head.selected, query));
  // A query without keys yields zeros, as FlexAttention does.
  for (int64_t d = 0; d < dim; ++d) store(args, args.out, out_at + d, total > 0 ? sum[d] / total : 0.0f);
}

}  // namespace

void grouped_attention_reference(const GroupedAttentionArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.head_count; ++h) {
      const Head head{b, h, args.heads == nullptr ? h : args.heads[h]};
      for (int64_t g = 0; g < args.group_count; ++g) {
        for (int32_t query = args.groups[g].query_begin; query < args.groups[g].query_end; ++query) {
          attend_row(args, head, args.groups[g], query);
        }
      }
    }
  }
}

}  // namespace vorta::kernels
