// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "engine/text/prompt_encoder.h"

namespace vorta::engine {
namespace {

class RandomPromptEncoder final : public PromptEncoder {
 public:
  RandomPromptEncoder(int64_t text_dim, int64_t max_tokens, const Placement& placement)
      : text_dim_(text_dim), max_tokens_(max_tokens), placement_(placement) {}

  at::Tensor encode(const std::vector<std::string>& prompts) const override {
    const at::Generator generator = at::detail::createCPUGenerator(0);
    const at::Tensor one = at::randn({1, max_tokens_, text_dim_}, generator, at::kFloat);
    return one.to(placement_.device, placement_.dtype).expand({static_cast<int64_t>(prompts.size()), -1, -1}).contiguous();
  }
  std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const override {
    return std::vector<std::vector<int64_t>>(prompts.size());
  }
  int64_t text_dim() const override { return text_dim_; }
  int64_t max_tokens() const override { return max_tokens_; }
  double flops() const override { return 0; }

 private:
  int64_t text_dim_;
  int64_t max_tokens_;
  Placement placement_;
};

}  // namespace

std::unique_ptr<PromptEncoder> make_random_prompt_encoder(int64_t text_dim, int64_t max_tokens, const Placement& placement) {
  return std::make_unique<RandomPromptEncoder>(text_dim, max_tokens, placement);
}

}  // namespace vorta::engine
