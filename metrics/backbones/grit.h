// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <vector>

#include "metrics/backbones/box_cascade.h"
#include "metrics/backbones/object_captioner.h"
#include "metrics/backbones/vit_pyramid.h"

namespace vorta::metrics {

/// GRiT (Wu et al. 2022): finds objects and describes each in words.
class Grit {
 public:
  /// The names and shapes of the dict `model` of grit_b_densecap_objectdet.pth; the second copy of the text decoder,
  /// text_decoder_det, may be missing, and counts where it is there; no other tensors may be there. Float32.
  /// @throws DataError naming the source and the tensor.
  explicit Grit(const engine::WeightReader& weights, const GritConfig& config = {});

  /// What begins a text: names of object classes, or captions.
  enum class Text : int64_t { kName = 101, kCaption = 104 };
  struct Objects {
    std::vector<std::array<float, 4>> boxes;  // x1, y1, x2, y2 in pixels, best score first, none empty
    std::vector<float> scores;
    std::vector<std::vector<int64_t>> names;     // BERT token ids; with kCaption of the first object only
    std::vector<std::vector<int64_t>> captions;  // empty with kName
  };
  /// frame: [3, Y, X] float32 RGB 0..255.
  Objects find(const at::Tensor& frame, Text text) const;

 private:
  Grit(const engine::WeightReader& weights, const engine::WeightReader& heads, const GritConfig& config);

  VitPyramid backbone_;
  BoxProposals proposals_;
  BoxCascade cascade_;
  ObjectCaptioner captioner_;
};

}  // namespace vorta::metrics
