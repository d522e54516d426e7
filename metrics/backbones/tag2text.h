// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "metrics/backbones/beam_search.h"
#include "metrics/backbones/bert_layer.h"
#include "metrics/backbones/swin.h"

namespace vorta::metrics {

/// Sizes of Tag2Text; the defaults are the captioner with Swin-B.
struct Tag2TextConfig {
  SwinConfig vision = {};
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t tagging_layers = 2;
  int64_t tagging_heads = 4;
  int64_t classes = 3429;
  int64_t vocabulary = 30524;  // BERT's and two tokens more: what begins a caption, what begins the tags
  int64_t positions = 512;
  int64_t begin_caption() const { return vocabulary - 2; }
  int64_t begin_tags() const { return vocabulary - 1; }
};

/// Tag2Text (Huang et al. 2023): names what an image shows, and writes a caption around the names.
class Tag2Text {
 public:
  /// The names and shapes of the dict `model` of tag2text_swin_14m.pth; all are needed and no others may be there.
  /// Where names share a tensor the one that PyTorch loads last counts. Float32.
  /// @throws DataError naming the source and the tensor.
  explicit Tag2Text(const engine::WeightReader& weights, const Tag2TextConfig& config = {});

  /// images: [B, 3, S, S] normalised -> [B, 1 + (S / 32)^2, C].
  at::Tensor look(const at::Tensor& images) const;
  /// seen [B, ..] of look() -> logits of the tags [B, classes].
  at::Tensor tag_logits(const at::Tensor& seen) const;
  /// The caption of one image. seen: [1, ..]; tags: token ids of the joined tags with [CLS] and [SEP], at most
  /// `kTagTokens`; prompt: ids of the words that begin the caption -> token ids after the begin token, with the
  /// prompt's.
  std::vector<int64_t> caption(const at::Tensor& seen, std::vector<int64_t> tags,
                               const std::vector<int64_t>& prompt) const;
  static constexpr int64_t kTagTokens = 40;
  const Tag2TextConfig& config() const { return config_; }

 private:
  struct Layer {
    BertAttention self, cross;
    BertFeedForward feed;
  };
  struct Embedding {
    at::Tensor words, positions;
    Affine norm;
    at::Tensor forward(const at::Tensor& ids, int64_t first_position) const;  // [B, L] -> [B, L, M]
  };
  struct Memory {  // keys and values of one layer of the decoder
    std::pair<at::Tensor, at::Tensor> text, tags;
  };
  Layer take_layer(const engine::WeightReader& weights, int64_t index, int64_t memory_width) const;
  at::Tensor read_tags(const at::Tensor& seen, std::vector<int64_t> tags) const;
  at::Tensor next_logits(const at::Tensor& ids, int64_t first_position, std::vector<Memory>& memory) const;

  Tag2TextConfig config_;
  Swin vision_;
  std::vector<std::pair<BertAttention, BertFeedForward>> tagging_;
  at::Tensor labels_;       // [classes, M]
  Affine tag_scores_;       // weight [classes, M], bias [classes]
  Embedding tag_embedding_, text_embedding_;
  std::vector<Layer> tag_layers_, text_layers_;
  Affine transform_, transform_norm_, output_;
};

}  // namespace vorta::metrics
