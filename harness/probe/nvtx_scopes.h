// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "harness/probe/scope_log.h"

namespace vorta::harness {

/// Shows scopes in Nsight Systems and Nsight Compute as NVTX ranges of the domain "vorta-bench": "denoise", "step 3",
/// "layer 7", "self_attention", "sliding heads". Costs two nanoseconds a scope when no tool listens. Our own records
/// use external correlation ids instead: CUPTI sees NVTX only when an environment variable was set before the first
/// call.
class NvtxScopes final : public ScopeListener {
 public:
  void scope_begin(std::string_view name) override;
  void scope_end() override;
};

/// What Nsight shows for a scope: "vorta::layer/7" -> "layer 7".
std::string nvtx_title(std::string_view scope);

}  // namespace vorta::harness
