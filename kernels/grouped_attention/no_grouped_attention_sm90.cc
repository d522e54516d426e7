// SPDX-License-Identifier: Apache-2.0
// A build without CUDA variants: plans can be made, but nothing runs them.
#include "kernels/grouped_attention/grouped_attention_sm90.h"

namespace vorta::kernels {

bool grouped_attention_sm90_supports(const GroupedAttentionArgs&, const Stream&) { return false; }

KernelStatus grouped_attention_sm90(const GroupedAttentionArgs&, const Sm90AttentionPlan&, const int32_t*,
                                    const Stream&) {
  return KernelStatus::kUnsupported;
}

}  // namespace vorta::kernels
