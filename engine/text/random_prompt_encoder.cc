// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "engine/text/prompt_encoder.h"

namespace vorta::engine {
namespace {

class RandomPromptEncoder final : public PromptEncoder {
 public:
  RandomPromptEncoder(const PromptSizes& sizes, const Placement& placement) : sizes_(sizes), placement_(placement) {}

  PromptFeatures encode(const std::vector<std::string>& prompts) const override {
    const auto batch = static_cast<int64_t>(prompts.size());
    const at::Generator generator = at::detail::createCPUGenerator(0);
    const auto normal = [&](std::vector<int64_t> one) {  // the same for each prompt of the batch
      const at::Tensor values = at::randn(one, generator, at::kFloat).to(placement_.device, placement_.dtype);
      one.front() = batch;
      return values.expand(one).contiguous();
    };
    PromptFeatures features;
    features.tokens = normal({1, sizes_.max_tokens, sizes_.text_dim});
    if (sizes_.pooled_dim == 0) return features;
    features.mask = at::ones({batch, sizes_.max_tokens}, at::TensorOptions(at::kLong).device(placement_.device));
    features.pooled = normal({1, sizes_.pooled_dim});
    return features;
  }
  std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const override {
    return std::vector<std::vector<int64_t>>(prompts.size());
  }
  int64_t text_dim() const override { return sizes_.text_dim; }
  int64_t max_tokens() const override { return sizes_.max_tokens; }
  int64_t pooled_dim() const override { return sizes_.pooled_dim; }
  double flops() const override { return 0; }

 private:
  PromptSizes sizes_;
  Placement placement_;
};

}  // namespace

std::unique_ptr<PromptEncoder> make_random_prompt_encoder(const PromptSizes& sizes, const Placement& placement) {
  return std::make_unique<RandomPromptEncoder>(sizes, placement);
}

}  // namespace vorta::engine
