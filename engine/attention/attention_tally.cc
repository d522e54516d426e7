// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/attention_tally.h"

#include <ATen/ATen.h>
#include <ATen/SDPBackend.h>
#include <fmt/format.h>

#include <array>
#include <utility>

namespace vorta::engine {
namespace {

thread_local AttentionCalls* hearing = nullptr;

// Opens a tally on this thread; nested ones count to the innermost.
class Hearing {
 public:
  explicit Hearing(AttentionCalls& calls) : before_(std::exchange(hearing, &calls)) {}
  ~Hearing() { hearing = before_; }
  Hearing(const Hearing&) = delete;
  Hearing& operator=(const Hearing&) = delete;

 private:
  AttentionCalls* before_;
};

std::string_view name_of(at::SDPBackend backend) {
  switch (backend) {
    case at::SDPBackend::math: return "math";
    case at::SDPBackend::flash_attention: return "flash";
    case at::SDPBackend::efficient_attention: return "efficient";
    case at::SDPBackend::cudnn_attention: return "cudnn";
    default: return "other";
  }
}

}  // namespace

void note_attention(std::string_view implementation) {
  if (hearing == nullptr) return;
  const auto found = hearing->find(implementation);
  if (found != hearing->end()) ++found->second;
  else hearing->emplace(implementation, 1);
}

void note_sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (hearing == nullptr) return;
  note_attention(fmt::format("sdpa/{}", name_of(static_cast<at::SDPBackend>(at::_fused_sdp_choice(q, k, v)))));
}

at::Tensor TalliedAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const LayerStep& where) {
  const Hearing open(calls_);
  return inner_->run(q, k, v, where);
}

void TalliedAttention::add_calls(const AttentionCalls& calls) {
  for (const auto& [implementation, count] : calls) calls_[implementation] += count;
}

bool TalliedAttention::run_heads(const HeadCall& call) {
  const Hearing open(calls_);
  return inner_->run_heads(call);
}

}  // namespace vorta::engine
