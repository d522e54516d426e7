// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/attention/attention.h"
#include "engine/attention/router.h"
#include "engine/base/registry.h"
#include "engine/base/shapes.h"
#include "engine/cache/step_cache.h"
#include "engine/weights/placement.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Floating-point operations (a multiply-add counts 2) of one forward of one sample, by kind of operator. Elementwise
/// work, norms and softmax are not counted.
struct DitCost {
  double patch = 0;            // patch embedding and output projection
  double patch_in = 0;         // of it, the embedding
  double other_linear = 0;     // products with weights outside the blocks: time and text
  double self_linear = 0;      // q, k, v and output of self attention, all layers
  double cross_linear = 0;     // likewise of cross attention
  double cross_query = 0;      // of it, q of one layer
  double feed_forward = 0;     // all layers
  double cross_attention = 0;  // scores and weighted sum with the text
  double self_attention = 0;   // scores and weighted sum, as if dense: 4 L L N D a layer

  /// Every matrix product with a weight but the patches'.
  double linear() const { return other_linear + self_linear + cross_linear + feed_forward; }
  double total() const { return patch + linear() + cross_attention + self_attention; }
  /// Dense total over the total when self attention does `density` of the dense work.
  double speedup(double density) const;
};

/// What the text encoders made of the prompts of a batch.
struct TextCondition {
  TextCondition() = default;
  TextCondition(at::Tensor features) : tokens(std::move(features)) {}  // NOLINT: implicit, for models that need no more
  TextCondition(at::Tensor features, at::Tensor valid, at::Tensor summary)
      : tokens(std::move(features)), mask(std::move(valid)), pooled(std::move(summary)) {}

  at::Tensor tokens;  // [B, S, text_dim]
  at::Tensor mask;  // [B, S], not 0 where a token counts; undefined: all do
  at::Tensor pooled;  // [B, pooled_dim]; undefined for models that take none
};
/// How many tokens of each text count. InternalError when the batch's texts differ in that: tokens of video and text in
/// one sequence have one length.
int64_t valid_text_tokens(const TextCondition& text);

/// What one forward works on.
struct DitInputs {
  at::Tensor latents;  // [B, C, T, H, W]
  at::Tensor timestep;  // [B], int64 or float, 0..1000
  TextCondition text;  // of B samples; of P for one sample where text stays out of the sequence: see VideoDit::forward
  double guidance = 1;  // told to models with an embedded guidance, ignored by others
  TokenOrder order = {};  // in which the blocks see the video tokens
};

/// One self-attention call as the model sees it: q, k, v [B, N, L + S, D] of `layer` -> the same; S is 0 for models
/// that keep text out of the sequence.
using LayerAttention =
    std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer)>;
/// Sees the hidden state [B, L + S, M] after each layer.
using LayerObserver = std::function<void(int64_t layer, const at::Tensor& hidden)>;

/// How one forward is to be computed.
struct ForwardContext {
  AttentionBackend& attention;  // does every self attention
  int64_t step = 0;  // LayerStep::step, and the cache's
  StepCache* cache = nullptr;  // null: every block is computed
  GuidancePass pass = GuidancePass::kPositive;
  double guidance = 1;  // DitInputs::guidance
  bool reorder = false;  // blocks may see video tokens in attention.preferred_order(): faster on a GPU
};

/// One forward after its embeddings: the blocks, and what comes after them.
class DitPass : public BlockStack {
 public:
  /// [B, L + S, M]: what the first block reads.
  virtual at::Tensor embedded() const = 0;
  /// What the last block gives -> patch space [B, L, P], in raster order.
  virtual at::Tensor head(const at::Tensor& hidden) const = 0;
};

/// A video diffusion transformer as the pipeline sees it.
class VideoDit {
 public:
  virtual ~VideoDit() = default;

  /// latents [B, C, T, H, W], timestep [B] (int64 or float, 0..1000) -> velocity [B, C, T, H, W], in the model's dtype.
  /// One sample with P texts is P samples [P, C, T, H, W] whose work ahead of the first cross attention is done once;
  /// models with text in the sequence do not take it.
  /// What a model computes of the last two texts alone is kept while the same tensor objects are passed again; do not
  /// modify them in place.
  at::Tensor forward(const at::Tensor& latents, const at::Tensor& timestep, const TextCondition& text,
                     const ForwardContext& context);
  /// Makes what forwards need to know of a grid of tokens and their order ahead of the first one, which otherwise does
  /// it.
  virtual void prepare(const VideoGrid& tokens, const TokenOrder& order) = 0;
  /// What `prepare` made last, which forwards read beside weights and inputs; whoever repeats a forward keeps it.
  virtual std::shared_ptr<const void> tables() const = 0;
  /// Up to and including the output projection: patch space [B, L, P].
  at::Tensor forward_patches(const DitInputs& inputs, const LayerAttention& attention,
                             const LayerObserver& observer = {});
  /// Patch space [B, L, P] of token grid `tokens` -> [B, C, T, H, W].
  virtual at::Tensor unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const = 0;
  /// The pass refers to the model and to `attention`.
  virtual std::unique_ptr<DitPass> begin(const DitInputs& inputs, const LayerAttention& attention) = 0;

  /// timestep [B] -> [B, M] in the model's dtype: the router's input.
  virtual at::Tensor timestep_embedding(const at::Tensor& timestep) const = 0;
  /// timestep [B] -> the cache's signal of the timestep, fp32: [B, M] or [B, 6 M].
  virtual at::Tensor time_signal(CacheSignal which, const at::Tensor& timestep) const = 0;

  /// Latent frames, height, width -> grid of tokens. ConfigError when the patch size does not divide the latents.
  virtual VideoGrid token_grid(const VideoGrid& latents) const = 0;
  virtual DitCost cost(const VideoGrid& tokens, int64_t text_tokens) const = 0;

  /// Whether the text's tokens that count stand behind the video's in every self attention.
  virtual bool text_in_sequence() const { return false; }
  virtual CoresetKeys coreset_keys() const { return CoresetKeys::kOfQueries; }
  /// The names of the blocks, by layer, as a router checkpoint has them.
  virtual std::vector<std::string> block_names() const = 0;

  virtual int64_t num_layers() const = 0;
  virtual int64_t num_heads() const = 0;
  virtual int64_t head_dim() const = 0;
  virtual int64_t embedding_dim() const = 0;  // M
  virtual int64_t latent_channels() const = 0;
  virtual int64_t text_dim() const = 0;
  virtual int64_t pooled_dim() const { return 0; }  // of TextCondition::pooled; 0: none
  virtual c10::ScalarType dtype() const = 0;
  virtual std::string_view class_name() const = 0;
  /// What the model did of its placement's wishes; load_video_dit refuses a model that did not.
  virtual Quantization quantization() const { return Quantization::kNone; }
  virtual Residence blocks() const { return Residence::kDevice; }

  /// Frees what only a generation under way needs: keys and values of texts, blocks that visit the device.
  virtual void rest() {}
};

/// What a router checkpoint of the model must hold.
RouterSize router_size(const VideoDit& model);

/// Which parameters keep fp32 in a bf16 model.
enum class DitPrecision {
  kInference,  // those that diffusers keeps: Wan's time embedder, scale_shift_tables and norm2
  kUniform,  // none, as the published router training casts models
};

/// Changes weights between their file and the model: LoRA. Absent: none.
using WeightEdit = std::function<void(TensorMap& weights)>;

using VideoDitFactory = std::unique_ptr<VideoDit> (*)(const std::filesystem::path& dir, const Placement& placement,
                                                      WeightOrigin origin, const WeightEdit& edit,
                                                      DitPrecision precision);

/// The family's table, keyed by the "_class_name" of a transformer folder's config.json.
std::span<const RegistryEntry<VideoDitFactory>> video_dits();
/// Loads `dir` (config.json and, where they come from files, weights), for training where grad mode is on. ConfigError
/// for an unknown class or config, DataError for the weights. ConfigError also for a quantization or a residence of its
/// blocks that the model lacks.
std::unique_ptr<VideoDit> load_video_dit(const std::filesystem::path& dir, const Placement& placement,
                                         WeightOrigin origin = WeightOrigin::kFiles, const WeightEdit& edit = {},
                                         DitPrecision precision = DitPrecision::kInference);
/// The model without weights, for its sizes and costs: tensors have shapes and no memory, whatever the folder holds.
std::unique_ptr<VideoDit> load_video_dit_shape(const std::filesystem::path& dir, c10::ScalarType dtype);

}  // namespace vorta::engine
