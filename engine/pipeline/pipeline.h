// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/attention/attention_tally.h"
#include "engine/attention/geometry.h"
#include "engine/attention/route_table.h"
#include "engine/base/error.h"
#include "engine/base/shapes.h"
#include "engine/cache/step_cache.h"
#include "engine/models/video_dit.h"
#include "engine/pipeline/model_folder.h"
#include "engine/schedule/recipe.h"
#include "engine/vae/vae.h"
#include "engine/weights/placement.h"

namespace vorta::engine {

/// The numbers went to infinity or NaN during a generation. The message names the stage and the step.
class NotFiniteError : public DataError {
  using DataError::DataError;
};

/// What of the networks waits outside the device. kKeepLoaded: nothing. kStageByStage: each network is loaded for its
/// stage and released after it. kLayerByLayer: the same, but the transformer's blocks stay in the host's memory
/// throughout and visit the device one after another (LayerStream). Results are the same bits.
enum class Offload { kKeepLoaded, kStageByStage, kLayerByLayer };

/// When a pipeline reads weights: at once, or when a generation first needs them, so that plans cost neither time nor
/// memory.
enum class Loading { kAtOnce, kWhenNeeded };

/// Low-rank changes of the transformer's weights, see engine/weights/lora.h.
struct LoraFile {
  std::filesystem::path path;
  double scale = 1;
  bool operator==(const LoraFile&) const = default;
};
enum class LoraMode { kMerged, kAtRunTime };

/// Whether a VAE works in spatial tiles: as the model's reference does, always, or never.
enum class TileVae { kAsReference, kAlways, kNever };

/// Everything that is decided before a prompt is known.
struct PipelineConfig {
  std::filesystem::path model_dir;  // diffusers layout: model_index.json, scheduler/, text_encoder/, tokenizer/, ...
  /// A transformer folder in place of the model's, e.g. a student, or a file of all its weights in any known key style;
  /// looked for inside model_dir first. Empty: the model's.
  std::filesystem::path transformer_dir;
  std::vector<LoraFile> loras;
  LoraMode lora_mode = LoraMode::kMerged;
  bool strict_loras = false;  // refuse files with keys that do not fit, instead of a warning
  std::filesystem::path routers_dir;  // <exp_dir> of a router checkpoint; empty: none
  /// Random weights: transformer and VAE of the folder's configurations, random text features; for latency alone.
  WeightOrigin weights = WeightOrigin::kFiles;
  std::string resume = "latest";  // which checkpoint of routers_dir, see open_router_checkpoint
  std::string attention = "dense";  // a row of attention_backends()
  /// Geometry of sliding and coreset attention where there is no router checkpoint to take it from.
  std::optional<AttentionGeometry> geometry;
  /// In place of the geometry's: window_size (sliding and routed attention), lowres_reduction_rate (coreset and
  /// routed).
  std::optional<Size3> sliding_window;
  std::optional<double> reduction_rate;
  std::string device = "cpu";  // cpu, cuda or auto: see open_device
  c10::ScalarType dtype = c10::ScalarType::Float;  // text encoder and transformer: kFloat or kBFloat16
  c10::ScalarType vae_dtype = c10::ScalarType::Float;
  /// Routed attention: a head whose top score is lower is dense. Absent: none; the published 0.3 never triggers either.
  std::optional<double> tau;
  /// Routed attention without routers: shares of the heads, see routes_by_fractions.
  std::optional<RouteFractions> route_fractions;
  std::filesystem::path route_file;  // routed attention by a table, see read_route_file; empty: none
  std::string cache = "none";  // a row of step_caches()
  std::string cache_options = "{}";  // its options, a JSON object
  std::string cache_where = "--cache-options";  // where they stand, for messages
  std::shared_ptr<StepCache> own_cache;  // in place of the three above: one that the caller made, to measure with
  int64_t steps = 50;
  /// Classifier-free guidance, one pass a step when <= 1; for models with an embedded guidance what they are told.
  double guidance = 5.0;
  /// Models with an embedded guidance: classifier-free guidance beside it, two passes a step when > 1.
  double true_guidance = 1.0;
  int64_t max_sequence_length = 512;  // text tokens that the transformer sees; the rest of a prompt is cut
  std::optional<double> flow_shift;  // replaces the shift of scheduler_config.json
  std::optional<SamplingRecipe> recipe;  // in place of scheduler and shift; steps and guidance are then its own
  std::string scheduler;  // a row of samplers(); empty: as scheduler_config.json says
  /// The transformer's forwards as CUDA graphs: faster where a GPU waits for launches, the same bits. For a GPU with
  /// the networks loaded, no cache, and models that keep text out of the sequence.
  bool cuda_graphs = false;
  Offload offload = Offload::kKeepLoaded;
  Quantization quantization = Quantization::kNone;  // of the transformer's blocks
  VaeOptions vae;  // with a tiling: always in these tiles
  TileVae tile_vae = TileVae::kAsReference;
  TextSource text = TextSource::kEncoder;  // kGiven: every request brings its text
};

/// Text features in place of prompts, batch 1.
struct GivenText {
  TextCondition positive;
  TextCondition negative;  // undefined tokens: none
};

/// Whether a generation stops at the latents.
enum class Output { kLatents, kVideo };

/// A generation that stops before the end of its schedule. kTiming: the steps are measured, so latents are all it may
/// ask for, no cache may skip later ones, and there must be so many. kWarmUp: it warms up what a whole one uses, with
/// what follows the denoising, and shows nothing; more steps than there are means all.
struct FirstSteps {
  enum class Purpose { kTiming, kWarmUp };
  int64_t count = 1;
  Purpose purpose = Purpose::kTiming;
};

struct GenerationRequest {
  std::string prompt;
  std::string negative_prompt;  // used when guidance takes two passes
  std::optional<GivenText> text;  // with TextSource::kGiven, in place of both
  int64_t frames = 81;
  int64_t height = 480;
  int64_t width = 832;
  uint64_t seed = 0;
  /// Initial noise [B, C, T, H, W]; B videos of one prompt. Drawn from a CPU generator with `seed` when absent, the
  /// stream of diffusers' randn_tensor.
  std::optional<at::Tensor> latents;
  Output output = Output::kVideo;
  std::optional<FirstSteps> first_steps;  // absent: the whole schedule
};

/// Tensors on the CPU.
struct GenerationResult {
  std::vector<CacheCall> cache_calls;  // every forward of the denoising, in order
  AttentionCalls attention_calls;  // of the denoising's self attentions
  at::Tensor latents;  // [B, C, T, H, W] fp32, as the VAE takes them (normalised)
  at::Tensor video;  // [F, 3, Y, X] fp32 in 0..1; undefined for Output::kLatents; [B, F, 3, Y, X] when B > 1
};

/// Sizes of a request once checked against the model.
struct VideoSize {
  int64_t frames = 0;  // pixels; possibly rounded as diffusers does
  int64_t height = 0;
  int64_t width = 0;
  VideoGrid latents;  // T, H, W of the latents
  VideoGrid tokens;  // the transformer's token grid
};

/// What a generation will cost, known before it starts (routes depend on the timesteps alone).
struct PlanSummary {
  VideoSize size;
  std::shared_ptr<const RouteTable> routes;  // every head of every step: uniform for dense, sliding and coreset
  std::array<double, kBranches> branch_density{};  // pairs computed over all pairs, by Branch; 0 where not defined
  int64_t passes = 1;  // transformer forwards a step: 2 with classifier-free guidance
  DitCost dense_pass;  // one dense forward
  std::vector<double> step_flops;  // all passes of each step that runs, less what the cache is known to skip
  int64_t schedule_steps = 0;  // of the whole schedule: more than run where steps are timed
  double schedule_flops = 0;  // of all of them
  double attention_flops = 0;  // of step_flops, the self attentions' scores and weighted sums
  /// Whether step_flops knows what the cache will skip; if not, they are those without a cache.
  bool cache_is_static = true;
  std::string cache_note;
  int64_t cache_bytes = 0;  // kept from step to step, all passes
  double forwards = 0;  // forwards of the network, a step with half its work skipped counting half
  /// Both, where a cache decides while sampling, if it reuses wherever its options let it; else as above.
  double least_denoise_flops = 0, least_forwards = 0;
  double dense_step_flops = 0;  // the same step with dense attention
  double dense_step_attention = 0;  // of it, the self attentions' scores and weighted sums
  double text_flops = 0;  // all prompts
  double vae_flops = 0;  // 0 where latents are all that is asked for
  double denoise_flops() const;
  /// Dense denoising FLOPs over planned ones.
  double speedup() const;
};

enum class Stage { kText, kDenoise, kVae };
std::string_view to_string(Stage stage);  // "text", "denoise", "vae"

/// Listens to a generation. Calls come from the generating thread, outside any kernel: the device has finished what
/// came before the call.
class PipelineObserver {
 public:
  virtual ~PipelineObserver() = default;
  virtual void stage_begin(Stage /*stage*/) {}
  virtual void stage_end(Stage /*stage*/) {}
  virtual void step_begin(int64_t /*index*/, int64_t /*count*/) {}
  virtual void step_end(int64_t /*index*/, int64_t /*count*/) {}
};

/// Whether pipelines of both configurations can use the same networks: weights, device, types and offload agree, and
/// networks are not released between stages.
bool shares_networks(const PipelineConfig& a, const PipelineConfig& b);

/// A text-to-video pipeline in the diffusers layout: prompt in, latents or frames out.
class Pipeline {
 public:
  /// Reads and checks the folder and loads the networks (with an Offload those that do not wait for their stage).
  /// @throws ConfigError, DataError as the parts do.
  /// `donor`: a pipeline whose networks are taken over where they are the same (shares_networks), else none.
  static Pipeline load(const PipelineConfig& config, Loading loading = Loading::kAtOnce,
                       const Pipeline* donor = nullptr);
  ~Pipeline();
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;

  /// Checks the sizes, computes the routes and the cost. ConfigError names the nearest sizes that work.
  PlanSummary plan(const GenerationRequest& request);
  /// @throws ConfigError as `plan`; NotFiniteError. Deterministic by seed on one device and thread count.
  GenerationResult generate(const GenerationRequest& request, PipelineObserver* observer = nullptr);

  const PipelineConfig& config() const;
  at::Device device() const;
  /// Timesteps of the schedule, [steps].
  const at::Tensor& timesteps() const;

 private:
  class Impl;
  explicit Pipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Frames [F, 3, Y, X] in 0..1 -> [F, Y, X, 3] uint8, contiguous: times 255, rounded half to even.
at::Tensor to_rgb_bytes(const at::Tensor& video);

}  // namespace vorta::engine
