// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "engine/attention/attention.h"
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
  double other_linear = 0;     // products with weights outside the blocks: time and text
  double self_linear = 0;      // q, k, v and output of self attention, all layers
  double cross_linear = 0;     // likewise of cross attention
  double feed_forward = 0;     // all layers
  double cross_attention = 0;  // scores and weighted sum with the text
  double self_attention = 0;   // scores and weighted sum, as if dense: 4 L L N D a layer

  /// Every matrix product with a weight but the patches'.
  double linear() const { return other_linear + self_linear + cross_linear + feed_forward; }
  double total() const { return patch + linear() + cross_attention + self_attention; }
  /// Dense total over the total when self attention does `density` of the dense work.
  double speedup(double density) const;
};

/// How one forward is to be computed.
struct ForwardContext {
  AttentionBackend& attention;  // does every self attention
  int64_t step = 0;             // LayerStep::step, and the cache's
  StepCache* cache = nullptr;   // null: every block is computed
  GuidancePass pass = GuidancePass::kPositive;
  bool reorder = false;  // blocks may see tokens in attention.preferred_order(): faster on a GPU
};

/// A video diffusion transformer as the pipeline sees it.
class VideoDit {
 public:
  virtual ~VideoDit() = default;

  /// latents [B, C, T, H, W], timestep [B] (int64 or float, 0..1000), text [B, S, text_dim] -> velocity
  /// [B, C, T, H, W], in the model's dtype. The keys and values of the last two texts are kept while the same tensor
  /// objects are passed again; do not modify them in place.
  virtual at::Tensor forward(const at::Tensor& latents, const at::Tensor& timestep, const at::Tensor& text,
                             const ForwardContext& context) = 0;

  /// timestep [B] -> [B, M] in the model's dtype: the router's input.
  virtual at::Tensor timestep_embedding(const at::Tensor& timestep) const = 0;
  /// timestep [B] -> the cache's signal of the timestep, fp32: [B, M] or [B, 6 M].
  virtual at::Tensor time_signal(CacheSignal which, const at::Tensor& timestep) const = 0;

  /// Latent frames, height, width -> grid of tokens. ConfigError when the patch size does not divide the latents.
  virtual VideoGrid token_grid(const VideoGrid& latents) const = 0;
  virtual DitCost cost(const VideoGrid& tokens, int64_t text_tokens) const = 0;

  virtual int64_t num_layers() const = 0;
  virtual int64_t num_heads() const = 0;
  virtual int64_t head_dim() const = 0;
  virtual int64_t embedding_dim() const = 0;  // M
  virtual int64_t latent_channels() const = 0;
  virtual int64_t text_dim() const = 0;
  virtual c10::ScalarType dtype() const = 0;
  virtual std::string_view class_name() const = 0;
  /// What the model did of its placement's wishes; load_video_dit refuses a model that did not.
  virtual Quantization quantization() const { return Quantization::kNone; }
  virtual Residence blocks() const { return Residence::kDevice; }

  /// Frees what only a generation under way needs: keys and values of texts, blocks that visit the device.
  virtual void rest() {}
};

/// Changes weights between their file and the model: LoRA. Absent: none.
using WeightEdit = std::function<void(TensorMap& weights)>;

using VideoDitFactory = std::unique_ptr<VideoDit> (*)(const std::filesystem::path& dir, const Placement& placement,
                                                     WeightOrigin origin, const WeightEdit& edit);

/// The family's table, keyed by the "_class_name" of a transformer folder's config.json.
std::span<const RegistryEntry<VideoDitFactory>> video_dits();
/// Loads `dir` (config.json and, where they come from files, weights). ConfigError for an unknown class or config,
/// DataError for the weights. ConfigError also for a quantization or a residence of its blocks that the model lacks.
std::unique_ptr<VideoDit> load_video_dit(const std::filesystem::path& dir, const Placement& placement,
                                         WeightOrigin origin = WeightOrigin::kFiles, const WeightEdit& edit = {});
/// The model without weights, for its sizes and costs: tensors have shapes and no memory, whatever the folder holds.
std::unique_ptr<VideoDit> load_video_dit_shape(const std::filesystem::path& dir, c10::ScalarType dtype);

}  // namespace vorta::engine
