// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "harness/probe/machine.h"
#include "harness/run/video_engine.h"
#include "reports/store/run_store.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kEmbedded = "embedded";

fs::path model_folder(const SuiteSpec& suite) {
  return suite.model == kEmbedded ? engine::find_embedded_model() : fs::path(suite.model);
}

fs::path routers_folder(const SuiteSpec& suite, const Variant& variant) {
  if (variant.attention.name == "dense") return {};
  const std::string& named = variant.attention.routers.empty() ? suite.routers : variant.attention.routers;
  if (!named.empty() && named != kEmbedded) return named;
  const fs::path bundled = engine::find_bundled_routers(model_folder(suite));
  if (bundled.empty()) throw DataError(model_folder(suite).string(), "no routers/ beside the model; name a folder under \"routers\"");
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

// A cheap identity of the weights: names, sizes and the first and last 64 KiB of each file (its header and some values).
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

engine::PipelineConfig pipeline_config(const SuiteSpec& suite, const Variant& variant) {
  const engine::GenerationDefaults defaults = engine::read_generation_defaults(model_folder(suite));
  engine::PipelineConfig config;
  config.model_dir = model_folder(suite);
  config.routers_dir = routers_folder(suite, variant);
  config.attention = variant.attention.name;
  config.dtype = variant.config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  config.device = variant.config.device;
  config.cache = variant.cache.name;
  config.cache_options = variant.cache.options_json;
  config.cache_where = "variant " + variant.name + ", cache options";
  if (variant.attention.tau) config.tau = *variant.attention.tau;
  config.steps = variant.config.steps > 0 ? variant.config.steps : defaults.steps;
  config.guidance = variant.config.guidance.value_or(defaults.guidance);
  config.max_sequence_length = defaults.max_sequence_length;
  config.flow_shift = variant.config.flow_shift ? variant.config.flow_shift : defaults.flow_shift;
  config.scheduler = variant.config.sampler;
  return config;
}

engine::GenerationRequest request_of(const VideoOrder& order) {
  const engine::GenerationDefaults defaults = engine::read_generation_defaults(model_folder(*order.suite));
  const GenerationConfig& config = order.variant->config;
  engine::GenerationRequest request;
  request.prompt = order.prompt->text;
  request.negative_prompt = order.suite->negative_prompt;
  request.frames = config.frames > 0 ? config.frames : defaults.frames;
  request.height = config.height > 0 ? config.height : defaults.height;
  request.width = config.width > 0 ? config.width : defaults.width;
  request.seed = order.seed;
  return request;
}

class PipelineEngine final : public VideoEngine {
 public:
  void prepare(const VideoOrder& order) override {
    if (pipelines_.contains(order.variant->name)) return;
    const engine::PipelineConfig config = pipeline_config(*order.suite, *order.variant);
    const int64_t each = weight_bytes(config.model_dir);
    const int64_t half = machine_memory_bytes() / 2;
    if (static_cast<int64_t>(pipelines_.size() + 1) * each > half) pipelines_.clear();
    pipelines_.emplace(order.variant->name, engine::Pipeline::load(config));
  }

  engine::PlanSummary plan(const VideoOrder& order) override { return loaded(order).plan(request_of(order)); }

  std::string device(const VideoOrder& order) override { return loaded(order).device().str(); }

  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
    return loaded(order).generate(request_of(order), observer).video;
  }

  std::string model_json(const SuiteSpec& suite) override {
    const fs::path folder = model_folder(suite);
    const nlohmann::json model{{"name", suite.model},
                               {"folder", folder.filename().string()},
                               {"weights_bytes", weight_bytes(folder)},
                               {"weights_fingerprint", weights_fingerprint(folder)}};
    return canonical_json(model);
  }

 private:
  engine::Pipeline& loaded(const VideoOrder& order) {
    const auto found = pipelines_.find(order.variant->name);
    VORTA_CHECK(found != pipelines_.end(), "prepare() comes before plan() and generate()");
    return found->second;
  }

  std::map<std::string, engine::Pipeline> pipelines_;
};

}  // namespace

std::unique_ptr<VideoEngine> make_pipeline_engine() { return std::make_unique<PipelineEngine>(); }

}  // namespace vorta::harness
