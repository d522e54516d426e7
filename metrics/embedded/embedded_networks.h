// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/scorers/scorer_networks.h"
#include "engine/text/tokenizer.h"
#include "metrics/core/scorer.h"
#include "metrics/embedded/label_set.h"

namespace vorta::metrics {

/// The newest results of a network by what it saw, so that dimensions of one video share them.
template <typename Result>
class RecentResults {
 public:
  explicit RecentResults(size_t most) : most_(most) {}
  template <typename Make>
  const Result& get(uint64_t key, const Make& make) {
    const auto known = results_.find(key);
    if (known != results_.end()) return known->second;
    if (order_.size() == most_) {
      results_.erase(order_.front());
      order_.pop_front();
    }
    order_.push_back(key);
    return results_.emplace(key, make()).first->second;
  }
  bool has(uint64_t key) const { return results_.contains(key); }

 private:
  size_t most_;
  std::map<uint64_t, Result> results_;
  std::deque<uint64_t> order_;
};

/// The embedded scorers as one file holds them, with their label set and tokenizer beside it. Not for several threads.
class EmbeddedNetworks {
 public:
  /// @throws MachineError when the file is missing, DataError when it is not the scorers'.
  explicit EmbeddedNetworks(const ScorerSetup& setup);
  /// Those of the setup's file and device, loaded once while anything uses them.
  static std::shared_ptr<EmbeddedNetworks> load(const ScorerSetup& setup);

  const LabelSet& labels() const { return labels_; }
  /// What the frame network says of frames [F, 3, Y, X] uint8, on the CPU; one entry a frame.
  engine::FrameOutputs look(const at::Tensor& frames);
  at::Tensor qualities(const at::Tensor& frames);                // [F, 2] 0..1: imaging, form
  engine::VideoOutputs watch(const at::Tensor& frames);          // of eight frames
  const engine::TextOutputs& read(const std::string& text);
  /// [1, 2, 32, 64] in pixels of the frames, which are [1, 3, Y, X], bytes or 0..1.
  const at::Tensor& flow(const at::Tensor& from, const at::Tensor& to);

 private:
  at::Device device_;
  LabelSet labels_;
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  std::unique_ptr<engine::ScorerNetworks> networks_;
  RecentResults<engine::FrameOutputs> frames_;
  RecentResults<engine::VideoOutputs> videos_;
  RecentResults<engine::TextOutputs> texts_;
  RecentResults<engine::FlowNetwork::Features> features_;
  RecentResults<at::Tensor> flows_;
};

}  // namespace vorta::metrics
