// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/rows.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"

namespace vorta::engine {

at::Tensor index_tensor(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

at::Tensor head_index(std::span<const int32_t> heads) {
  return index_tensor(std::vector<int64_t>(heads.begin(), heads.end()));
}

const at::Tensor& IndexTable::on(at::Device device) const {
  if (device.is_cpu()) return on_cpu_;
  if (!copy_.defined() || copy_.device() != device) copy_ = on_cpu_.to(device);
  return copy_;
}

at::Tensor take_tokens(const at::Tensor& x, const at::Tensor& index) {
  VORTA_CHECK(x.dim() == 4 && index.dim() == 1, "take_tokens works on [B, N, L, D] with one index a token");
  const int64_t batch = x.size(0), heads = x.size(1), tokens = x.size(2), dim = x.size(3);
  const at::Tensor rows = x.transpose(1, 2).reshape({batch * tokens, heads * dim});  // a view of token-major memory
  at::Tensor flat = index.to(x.device());
  if (batch > 1) {
    const at::Tensor starts = at::arange(batch, flat.options()).unsqueeze(1) * tokens;
    flat = (starts + flat).flatten();
  }
  return rows.index_select(0, flat).view({batch, index.size(0), heads, dim}).transpose(1, 2);
}

at::Tensor take_tokens_per_head(const at::Tensor& x, const at::Tensor& index) {
  VORTA_CHECK(x.dim() == 4 && index.dim() == 3, "take_tokens_per_head works on [B, N, L, D] and [B, N, I]");
  const int64_t batch = x.size(0), heads = x.size(1), tokens = x.size(2), dim = x.size(3);
  VORTA_CHECK(index.size(0) == batch && index.size(1) == heads, "one index list for each head");
  const at::Tensor rows = x.transpose(1, 2).reshape({batch * tokens * heads, dim});
  const at::Tensor first = at::arange(batch, index.options()).view({batch, 1, 1}) * tokens;
  const at::Tensor head = at::arange(heads, index.options()).view({1, heads, 1});
  // Token-major result, so that further gathers and the output projection need no copy.
  const at::Tensor flat = ((index + first) * heads + head).transpose(1, 2).reshape({-1});
  return rows.index_select(0, flat).view({batch, index.size(2), heads, dim}).transpose(1, 2);
}

at::Tensor take_heads(const at::Tensor& x, const at::Tensor& heads) {
  return x.transpose(1, 2).index_select(2, heads).transpose(1, 2);
}

}  // namespace vorta::engine
