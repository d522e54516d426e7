// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/attention/attention_tally.h"
#include "engine/models/video_dit.h"
#include "engine/nn/device_graph.h"

namespace vorta::engine {

/// The forwards of a schedule as CUDA graphs, one for all steps whose attention runs alike: for models so small that a
/// GPU waits for the host's launches. Routes are known before sampling, so every graph is, too.
class StepGraphs {
 public:
  /// For one grid of tokens, which `attention` is planned for. MachineError as GraphRecorder.
  StepGraphs(std::shared_ptr<VideoDit> model, std::unique_ptr<TalliedAttention> attention, at::Device device);

  TalliedAttention& attention() { return *attention_; }
  /// As VideoDit::forward, and the same bits; records the graph where that is not done. Where a step needs the host,
  /// which a warning says once, this and all later ones run as they are. Texts of one length without masks; no cache
  /// but the one that skips nothing, which is told of the forward.
  at::Tensor forward(const at::Tensor& latents, const at::Tensor& timestep, const TextCondition& text,
                     const ForwardContext& context);
  /// Whether forwards of every step with inputs of these sizes were made: none will be recorded any more.
  bool has_all(const at::Tensor& latents, const TextCondition& text) const {
    return complete_ == sizes_of(latents, text);
  }
  void set_all(const at::Tensor& latents, const TextCondition& text) { complete_ = sizes_of(latents, text); }

 private:
  using Sizes = std::vector<int64_t>;
  /// Where the graphs of one pass read.
  struct Inputs {
    at::Tensor latents, timestep, text;
    at::Tensor copied_text;  // whose values `text` has
  };
  struct Recorded {
    std::unique_ptr<DeviceGraph> graph;
    AttentionCalls calls;
    std::shared_ptr<const void> tables;
  };
  struct Pass {
    Inputs inputs;
    std::map<int64_t, Recorded> patterns;  // by AttentionBackend::pattern
  };
  static Sizes sizes_of(const at::Tensor& latents, const TextCondition& text);
  Recorded record(const Inputs& inputs, const ForwardContext& context);

  std::shared_ptr<VideoDit> model_;
  std::unique_ptr<TalliedAttention> attention_;
  GraphRecorder recorder_;
  std::map<std::pair<GuidancePass, Sizes>, Pass> passes_;
  Sizes complete_;
  bool records_ = true;
};

}  // namespace vorta::engine
