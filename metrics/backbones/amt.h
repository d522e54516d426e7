// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "metrics/backbones/conv.h"

namespace vorta::metrics {

class CorrelationPyramid;

/// AMT-S (Li et al. 2023, "All-Pairs Multi-Field Transforms"): the frame half way between two frames.
class Amt {
 public:
  /// The names and shapes of the dict `state_dict` of amt-s.pth; all are needed and no others may be there. Float32.
  /// @throws DataError naming the source and the tensor.
  explicit Amt(const engine::WeightReader& weights);

  /// first, second: [1, 3, Y, X] float32 0..1, sides multiples of 16 and at least 128 -> [1, 3, Y, X] in 0..1.
  at::Tensor between(const at::Tensor& first, const at::Tensor& second) const;

 private:
  struct Activated {  // a convolution and its channels' PReLU
    Conv2d conv;
    at::Tensor slope;
    at::Tensor operator()(const at::Tensor& x) const;
  };
  struct Bottleneck {
    Conv2d squeeze, conv, widen, shortcut;
  };
  struct Decoder {  // two of its convolutions see only the last kSide channels
    Activated enter, first, side1, second, side2;
    Conv2d last;
    at::Tensor slope;
    at::Tensor up_weight, up_bias;  // transposed convolution, 4x4, stride 2
    at::Tensor operator()(const at::Tensor& x) const;  // [1, I, Y, X] -> [1, O, 2 Y, 2 X]
  };
  struct Update {
    Conv2d correlation, flow1, flow2, join, gru1, gru2, feature1, feature2, flow_out1, flow_out2;
    int64_t scale;  // of the features' grid to that of the correlation
  };
  struct State {  // what a level hands to the next finer one
    at::Tensor flow0, flow1, features;
  };
  static Activated take_activated(const engine::WeightReader& weights, std::string_view name, at::IntArrayRef shape,
                                  int64_t stride = 1);
  static Decoder take_decoder(const engine::WeightReader& weights, int64_t in, int64_t width, int64_t out);
  static Update take_update(const engine::WeightReader& weights, int64_t channels, int64_t scale);
  void take_encoders(const engine::WeightReader& weights);

  at::Tensor matching_features(const at::Tensor& images) const;  // [2, 3, Y, X] -> [2, 84, Y/8, X/8]
  std::vector<at::Tensor> context(const at::Tensor& images) const;  // per level l: [2, C_l, Y/2^(l+1), X/2^(l+1)]
  State coarsest(const at::Tensor& context) const;
  static at::Tensor decode(const Decoder& decoder, const at::Tensor& context, const State& coarser);
  State refine(const Update& update, State state,
               const std::pair<CorrelationPyramid, CorrelationPyramid>& pyramids) const;
  at::Tensor combine(const at::Tensor& images, const at::Tensor& mean, const State& state, const at::Tensor& out) const;

  Conv2d stem_, head_;
  std::vector<Bottleneck> bottlenecks_;
  std::vector<std::pair<Activated, Activated>> pyramid_;
  std::vector<Decoder> decoders_;  // coarsest first
  std::vector<Update> updates_;
  Activated blend1_;
  Conv2d blend2_;
};

}  // namespace vorta::metrics
