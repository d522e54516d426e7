// SPDX-License-Identifier: Apache-2.0
#include "engine/train/text_batch.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "engine/train/captions.h"

namespace vorta::engine {

at::Tensor encode_captions(const Umt5Encoder& encoder, const std::vector<std::string>& captions, int64_t max_tokens,
                           at::Device device) {
  std::vector<std::vector<int64_t>> tokens;
  size_t longest = 1;
  for (const std::string& text : captions) {
    tokens.push_back(caption_tokens(text, max_tokens));
    longest = std::max(longest, tokens.back().size());
  }
  const auto batch = static_cast<int64_t>(captions.size()), length = static_cast<int64_t>(longest);
  const at::Tensor ids = at::full({batch, length}, kPadToken, at::kLong), mask = at::zeros({batch, length}, at::kLong);
  auto id = ids.accessor<int64_t, 2>();
  auto on = mask.accessor<int64_t, 2>();
  for (int64_t b = 0; b < batch; ++b) {
    const auto& row = tokens[static_cast<size_t>(b)];
    for (size_t s = 0; s < row.size(); ++s) {
      id[b][static_cast<int64_t>(s)] = row[s];
      on[b][static_cast<int64_t>(s)] = 1;
    }
  }
  const at::Tensor where = mask.to(device);
  const at::Tensor features = encoder.forward(ids.to(device), where);
  const at::Tensor kept = at::where(where.unsqueeze(-1) != 0, features, at::zeros({}, features.options()));
  return at::constant_pad_nd(kept, {0, 0, 0, max_tokens - length});
}

}  // namespace vorta::engine
