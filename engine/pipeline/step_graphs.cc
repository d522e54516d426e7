// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/step_graphs.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <exception>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/utf8.h"

namespace vorta::engine {

StepGraphs::StepGraphs(std::shared_ptr<VideoDit> model, std::unique_ptr<TalliedAttention> attention, at::Device device)
    : model_(std::move(model)), attention_(std::move(attention)), recorder_(device) {}

StepGraphs::Sizes StepGraphs::sizes_of(const at::Tensor& latents, const TextCondition& text) {
  Sizes sizes = latents.sizes().vec();
  sizes.insert(sizes.end(), text.tokens.sizes().begin(), text.tokens.sizes().end());
  return sizes;
}

StepGraphs::Recorded StepGraphs::record(const Inputs& inputs, const ForwardContext& context) {
  AttentionCalls before = attention_->take_calls();
  ForwardContext plain = context;
  plain.cache = nullptr;
  // Keys and values of the text are made inside the graph, of whatever text its input holds then.
  model_->rest();
  Recorded made;
  made.graph = recorder_.record([&] {
    model_->rest();
    attention_->take_calls();
    return model_->forward(inputs.latents, inputs.timestep, inputs.text, plain);
  });
  model_->rest();
  made.calls = attention_->take_calls();
  made.tables = model_->tables();
  attention_->add_calls(before);
  return made;
}

at::Tensor StepGraphs::forward(const at::Tensor& latents, const at::Tensor& timestep, const TextCondition& text,
                               const ForwardContext& context) {
  VORTA_CHECK(!text.mask.defined() && !text.pooled.defined(), "the text is tokens that all count");
  Pass& pass = passes_[{context.pass, sizes_of(latents, text)}];
  Inputs& in = pass.inputs;
  if (!in.latents.defined()) {
    in = {at::empty_like(latents),
          at::empty(timestep.sizes(), timestep.options().device(latents.device())),
          at::empty_like(text.tokens),
          {}};
  }
  in.latents.copy_(latents);
  in.timestep.copy_(timestep);
  if (!in.copied_text.is_same(text.tokens)) {
    in.text.copy_(text.tokens);
    in.copied_text = text.tokens;
  }
  const int64_t pattern = attention_->pattern(context.step);
  auto found = pass.patterns.find(pattern);
  if (found == pass.patterns.end() && records_) {
    try {
      found = pass.patterns.emplace(pattern, record(in, context)).first;
    } catch (const std::exception& error) {
      log_warn(fmt::format("--cuda-graphs: steps are launched one by one, since they cannot be recorded: {}",
                           first_line(error.what())));
      records_ = false;
    }
  }
  if (found == pass.patterns.end()) return model_->forward(latents, timestep, text, context);
  const at::Tensor result = found->second.graph->replay().clone();
  attention_->add_calls(found->second.calls);
  if (context.cache != nullptr) context.cache->note_computed(context.step, context.pass, model_->num_layers());
  return result;
}

}  // namespace vorta::engine
