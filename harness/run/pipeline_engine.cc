// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "engine/nn/device.h"
#include "engine/pipeline/sampling.h"
#include "harness/plan/controls.h"
#include "harness/plan/plan.h"
#include "harness/probe/machine.h"
#include "harness/run/video_engine.h"
#include "reports/store/run_store.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kEmbedded = "embedded";

fs::path model_folder(const std::string& model) {
  if (model == kEmbedded) return engine::find_embedded_model();
  const fs::path shape = shape_folder(model);
  return shape.empty() ? fs::path(model) : shape;
}

fs::path model_folder(const SuiteSpec& suite, const Variant& variant) { return model_folder(suite.model_of(variant)); }

engine::Offload offload_named(const std::string& name) {
  static const std::map<std::string, engine::Offload> kOffloads{{"none", engine::Offload::kKeepLoaded},
                                                                {"components", engine::Offload::kStageByStage},
                                                                {"layers", engine::Offload::kLayerByLayer}};
  return kOffloads.at(name);  // the schema lets no other through
}

fs::path routers_folder(const SuiteSpec& suite, const Variant& variant, const engine::PipelineConfig& config) {
  if (variant.attention.name == "dense") return {};
  const std::string& named = variant.attention.routers.empty() ? suite.routers : variant.attention.routers;
  if (!named.empty() && named != kEmbedded) return named;
  const fs::path bundled = engine::bundled_routers(config);
  if (bundled.empty())
    throw DataError(model_folder(suite, variant).string(),
                    "no routers/ beside the model; name a folder under \"routers\"");
  return bundled;
}

int64_t weight_bytes(const fs::path& folder) {
  int64_t bytes = 0;
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(folder, code)) {
    if (entry.path().extension() == ".safetensors") bytes += static_cast<int64_t>(entry.file_size(code));
  }
  return bytes;
}

// A cheap identity of the weights: names, sizes and the first and last 64 KiB of each file (its header and some
// values).
std::string weights_fingerprint(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(folder, code)) {
    const auto extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".pt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  nlohmann::json parts = nlohmann::json::array();
  for (const auto& file : files) {
    constexpr std::streamoff kEdge = 64 << 10;
    const auto size = static_cast<std::streamoff>(fs::file_size(file, code));
    std::string edges(static_cast<size_t>(std::min(size, 2 * kEdge)), '\0');
    std::ifstream stream(file, std::ios::binary);
    const auto head = std::min<std::streamoff>(size, kEdge);
    stream.read(edges.data(), head);
    stream.seekg(std::max<std::streamoff>(head, size - kEdge));
    stream.read(edges.data() + head, static_cast<std::streamoff>(edges.size()) - head);
    parts.push_back({fs::relative(file, folder, code).generic_string(), static_cast<int64_t>(size), sha256_hex(edges)});
  }
  return reports::json_hash(canonical_json(parts)).substr(0, 16);
}

// A file that lies beside the suite, or as it stands.
std::string beside(const SuiteSpec& suite, const std::string& name) {
  std::error_code ignored;
  const fs::path file = suite.source.parent_path() / name;
  return !name.empty() && fs::path(name).is_relative() && fs::exists(file, ignored) ? file.string() : name;
}

// The suite's base stands where a recipe says nothing; what the variant itself says must agree with it.
void choose_student(const SuiteSpec& suite, const Variant& variant, engine::GenerationDefaults defaults,
                    engine::PipelineConfig& config) {
  config.transformer_dir = beside(suite, variant.student.transformer);
  for (const std::string& text : variant.student.loras) {
    engine::LoraFile file = engine::parse_lora_file(text, "variant " + variant.name + ", loras");
    file.path = beside(suite, file.path.string());
    config.loras.push_back(std::move(file));
  }
  if (variant.config.steps > 0) defaults.steps = variant.config.steps;
  if (variant.config.guidance) defaults.guidance = *variant.config.guidance;
  if (variant.config.flow_shift) defaults.flow_shift = variant.config.flow_shift;
  defaults.scheduler = variant.config.sampler;
  engine::AskedSampling asked{.steps = {},
                              .guidance = variant.own.guidance,
                              .flow_shift = variant.own.flow_shift,
                              .scheduler = variant.own.sampler,
                              .recipe = beside(suite, variant.student.recipe),
                              .where = "variant " + variant.name + ", recipe",
                              .true_guidance = variant.own.true_guidance};
  if (variant.own.steps > 0) asked.steps = variant.own.steps;
  engine::choose_sampling(config, asked, defaults);
  if (!config.recipe) config.true_guidance = variant.config.true_guidance.value_or(1);
}

engine::PipelineConfig pipeline_config(const SuiteSpec& suite, const Variant& variant) {
  const engine::GenerationDefaults defaults = engine::read_generation_defaults(model_folder(suite, variant));
  engine::PipelineConfig config;
  config.model_dir = model_folder(suite, variant);
  config.attention = variant.attention.name;
  config.dtype = variant.config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  config.device = variant.config.device;
  config.cache = variant.cache.name;
  config.cache_options = variant.cache.options_json;
  config.cache_where = "variant " + variant.name + ", cache options";
  if (variant.attention.tau) config.tau = *variant.attention.tau;
  config.sliding_window = variant.attention.window;
  config.reduction_rate = variant.attention.reduction_rate;
  config.route_fractions = variant.attention.route_fractions;
  if (!variant.attention.route_table.empty())
    config.route_file = suite.source.parent_path() / variant.attention.route_table;
  if (suite.weights == "random") config.weights = engine::WeightOrigin::kRandom;
  config.cuda_graphs = variant.config.cuda_graphs;
  config.offload = offload_named(variant.config.offload);
  if (variant.config.quantization == "fp8") config.quantization = engine::Quantization::kFp8;
  config.max_sequence_length = defaults.max_sequence_length;
  choose_student(suite, variant, defaults, config);
  config.routers_dir = routers_folder(suite, variant, config);
  return config;
}

engine::GenerationRequest request_of(const VideoOrder& order) {
  const engine::GenerationDefaults defaults =
      engine::read_generation_defaults(model_folder(*order.suite, *order.variant));
  const GenerationConfig& config = order.variant->config;
  engine::GenerationRequest request;
  request.prompt = order.prompt->text;
  request.negative_prompt = order.suite->negative_prompt;
  request.frames = config.frames > 0 ? config.frames : defaults.frames;
  request.height = config.height > 0 ? config.height : defaults.height;
  request.width = config.width > 0 ? config.width : defaults.width;
  request.seed = order.seed;
  if (order.suite->output == "latents") request.output = engine::Output::kLatents;
  if (config.timed_steps > 0) request.first_steps = {config.timed_steps};
  return request;
}

nlohmann::json model_facts(const std::string& model, const std::string& weights) {
  const fs::path folder = model_folder(model);
  nlohmann::json facts{{"name", model}, {"folder", folder.filename().string()}};
  if (weights == "random") facts["weights"] = weights;
  else facts.update({{"weights_bytes", weight_bytes(folder)}, {"weights_fingerprint", weights_fingerprint(folder)}});
  return facts;
}

std::string kernel_names(const engine::AttentionCalls& calls) {
  std::string names;
  for (const auto& [name, count] : calls) names += (names.empty() ? "" : ", ") + name;
  return names;
}

class PipelineEngine final : public VideoEngine {
 public:
  explicit PipelineEngine(engine::Loading loading) : loading_(loading) {}

  void prepare(const VideoOrder& order) override {
    find_gpu(*order.suite);
    if (pipelines_.contains(order.variant->name)) return;
    const engine::PipelineConfig config = pipeline_config(*order.suite, *order.variant);
    const engine::Pipeline* donor = nullptr;
    for (const auto& [name, pipeline] : pipelines_) {
      if (engine::shares_networks(config, pipeline.config())) donor = &pipeline;
    }
    if (donor == nullptr) make_room(config);
    pipelines_.emplace(order.variant->name, engine::Pipeline::load(config, loading_, donor));
  }

  engine::PlanSummary plan(const VideoOrder& order) override { return loaded(order).plan(request_of(order)); }

  std::string device(const VideoOrder& order) override { return loaded(order).device().str(); }

  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
    engine::GenerationResult result = loaded(order).generate(request_of(order), observer);
    calls_ = std::move(result.cache_calls);
    attention_kernels_ = kernel_names(result.attention_calls);
    return order.suite->output == "latents" ? result.latents : result.video;
  }

  // One decoder serves all variants: warming it once is enough.
  void warm_up(const VideoOrder& order, int64_t steps, engine::PipelineObserver* observer) override {
    engine::GenerationRequest request = request_of(order);
    request.first_steps = {steps, engine::FirstSteps::Purpose::kWarmUp};
    if (decoder_is_warm_) request.output = engine::Output::kLatents;
    loaded(order).generate(request, observer);
    decoder_is_warm_ = true;
  }

  std::string attention_kernels() override { return attention_kernels_; }

  std::vector<engine::CacheCall> calls() const override { return calls_; }

  std::string model_json(const SuiteSpec& suite) override {
    nlohmann::json model = model_facts(suite.model, suite.weights);
    for (const Variant& variant : suite.variants) {
      if (suite.model_of(variant) != suite.model)
        model["of variants"][variant.model] = model_facts(variant.model, suite.weights);
    }
    return canonical_json(model);
  }

 private:
  // LibTorch looks for a GPU once: a first variant on the CPU must not hide it from a later one.
  void find_gpu(const SuiteSpec& suite) {
    if (std::exchange(looked_for_gpu_, true)) return;
    const auto wants = [](const Variant& variant) { return variant.config.device != "cpu"; };
    if (std::any_of(suite.variants.begin(), suite.variants.end(), wants)) engine::open_device("auto");
  }

  void make_room(const engine::PipelineConfig& config) {
    const bool unknown = config.weights == engine::WeightOrigin::kRandom;  // their size is in no file
    const int64_t each = weight_bytes(config.model_dir);
    if (unknown || static_cast<int64_t>(pipelines_.size() + 1) * each > machine_memory_bytes() / 2) pipelines_.clear();
  }

  engine::Pipeline& loaded(const VideoOrder& order) {
    const auto found = pipelines_.find(order.variant->name);
    VORTA_CHECK(found != pipelines_.end(), "prepare() comes before plan() and generate()");
    return found->second;
  }

  engine::Loading loading_;
  bool looked_for_gpu_ = false;
  std::map<std::string, engine::Pipeline> pipelines_;
  std::vector<engine::CacheCall> calls_;
  std::string attention_kernels_;
  bool decoder_is_warm_ = false;
};

// The share of all forwards' blocks that the last generation computed.
double computed_share(const std::vector<engine::CacheCall>& calls) {
  double computed = 0, all = 0;
  for (const engine::CacheCall& call : calls) {
    const double passes = call.pass == engine::GuidancePass::kBoth ? 2 : 1;
    computed += passes *
                static_cast<double>(std::count(call.blocks.begin(), call.blocks.end(), engine::BlockAction::kComputed));
    all += passes * static_cast<double>(call.blocks.size());
  }
  return all > 0 ? computed / all : 1;
}

// By a generation, since no plan says it.
std::optional<double> tried_flops(const VideoOrder& order, const engine::PlanSummary& plan, VideoEngine& engine) {
  SuiteSpec latents = *order.suite;
  latents.output = "latents";
  VideoOrder trial = order;
  trial.suite = &latents;
  try {
    engine.generate(trial, nullptr);
  } catch (const std::exception& error) {  // its trials will fail too, and say so
    log_warn(fmt::format("{}: no control, since a first generation failed: {}", order.variant->name, error.what()));
    return std::nullopt;
  }
  const double share = computed_share(engine.calls());
  log_info(fmt::format("{}: its cache decides while sampling; a first generation computed {:.0f} % of the blocks",
                       order.variant->name, 100 * share));
  return share * plan.denoise_flops();
}

}  // namespace

SuiteSpec with_planned_controls(SuiteSpec spec, VideoEngine& engine, UnknownCosts unknown,
                                const std::vector<std::string>& only) {
  const SuiteSpec asked = spec;
  return with_controls(std::move(spec), [&](const Variant& variant) -> std::optional<double> {
    const VideoOrder order{&asked, &variant, &asked.prompts.front(), asked.seeds.front()};
    engine.prepare(order);
    const engine::PlanSummary plan = engine.plan(order);
    if (plan.cache_is_static) return plan.denoise_flops();
    return unknown == UnknownCosts::kGenerate && is_kept(asked, variant, only) ? tried_flops(order, plan, engine)
                                                                               : std::nullopt;
  });
}

std::unique_ptr<VideoEngine> make_pipeline_engine(engine::Loading loading) {
  return std::make_unique<PipelineEngine>(loading);
}

}  // namespace vorta::harness
