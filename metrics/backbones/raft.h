// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "metrics/backbones/conv.h"

namespace vorta::metrics {

/// RAFT's convolutional encoder: 7x7 stem and three stages of two residual blocks, to an eighth of the size.
class RaftEncoder {
 public:
  /// kInstance normalises in forward(); kBatch is folded into the convolutions.
  enum class Norm { kInstance, kBatch };
  RaftEncoder(const engine::WeightReader& weights, Norm norm);
  at::Tensor forward(const at::Tensor& image) const;  // [1, 3, Y, X] in -1..1 -> [1, 256, Y/8, X/8]

 private:
  struct Block {
    Conv2d first, second, shortcut;  // no shortcut weight where the block keeps size and channels
  };
  Conv2d take(const engine::WeightReader& weights, std::string_view conv, std::string_view norm, at::IntArrayRef shape,
              int64_t stride = 1) const;
  at::Tensor normed(at::Tensor x) const;

  Norm norm_;
  Conv2d stem_, head_;
  std::vector<Block> blocks_;
};

/// RAFT-large (Teed and Deng 2020): optical flow between two images.
class Raft {
 public:
  /// The names and shapes of raft-things.pth without "module."; all are needed and no others may be there. Float32.
  /// @throws DataError naming the source and the tensor.
  explicit Raft(const engine::WeightReader& weights);

  /// What RAFT knows of one image: it serves as the first of one pair and as the second of another.
  struct Image {
    at::Tensor match;    // [1, 256, Y/8, X/8]
    at::Tensor hidden;   // [1, 128, Y/8, X/8], undefined until needed as the first of a pair
    at::Tensor context;  // [1, 128, Y/8, X/8]
  };
  /// frame: [1, 3, Y, X] float32 0..255, sides multiples of 8 and at least 128.
  Image encode(const at::Tensor& frame) const;

  /// Flow from `first` to `second` in pixels, x then y: [1, 2, Y, X].
  at::Tensor flow(const Image& first, const Image& second, int64_t iterations) const;

 private:
  struct Gru {  // one direction; the part of a gate that sees only the context does not change between iterations
    Conv2d gates;    // [hidden | motion] 256 -> z, r 256
    Conv2d update;   // [r * hidden | motion] 256 -> q 128
    Conv2d context;  // 128 -> z, r, q 384
  };
  static Gru take_gru(const engine::WeightReader& weights, std::string_view suffix, at::IntArrayRef kernel);
  static at::Tensor step(const Gru& gru, const at::Tensor& hidden, const at::Tensor& motion, const at::Tensor& context);
  at::Tensor motion(const at::Tensor& flow, const at::Tensor& correlation) const;
  at::Tensor upsample(const at::Tensor& flow, const at::Tensor& hidden) const;

  std::vector<RaftEncoder> encoders_;  // of features, of context
  Conv2d correlation1_, correlation2_, flow1_, flow2_, motion_, head1_, head2_, mask1_, mask2_;
  Gru horizontal_, vertical_;
};

}  // namespace vorta::metrics
