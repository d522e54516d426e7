// SPDX-License-Identifier: Apache-2.0
#include "metrics/embedded/embedded_networks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>
#include <functional>
#include <mutex>

#include "engine/base/error.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

constexpr std::string_view kEmbeddedWeights = "embedded_scorers";
constexpr size_t kRecentFrames = 96;  // a video of the default suite has 45

std::filesystem::path beside_weights(const ScorerSetup& setup, std::string_view name) {
  const auto file = setup.weights.find(kEmbeddedWeights);
  if (!file) throw MachineError(kEmbeddedWeights, setup.weights.how_to_get(kEmbeddedWeights));
  return file->parent_path() / name;
}

uint64_t content_key(const at::Tensor& frame) {
  const at::Tensor bytes = frame.contiguous();
  const std::string_view view(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
  return std::hash<std::string_view>{}(view) ^ (static_cast<uint64_t>(frame.size(-1)) * 0x9e3779b97f4a7c15ULL);
}

uint64_t joint_key(uint64_t a, uint64_t b) { return a * 0x9e3779b97f4a7c15ULL + (b ^ (a >> 29)); }

engine::FrameOutputs joined_outputs(const std::vector<engine::FrameOutputs>& frames) {
  const auto all = [&](at::Tensor engine::FrameOutputs::* member) {
    std::vector<at::Tensor> parts;
    for (const auto& frame : frames) parts.push_back(frame.*member);
    return at::cat(parts);
  };
  using Out = engine::FrameOutputs;
  return {all(&Out::map),        all(&Out::detections), all(&Out::subject),
          all(&Out::background), all(&Out::style),      all(&Out::background_logits)};
}

engine::FrameOutputs one_of(const engine::FrameOutputs& out, int64_t index) {
  const auto row = [&](const at::Tensor& x) { return x.narrow(0, index, 1); };
  return {row(out.map),        row(out.detections), row(out.subject),
          row(out.background), row(out.style),      row(out.background_logits)};
}

}  // namespace

EmbeddedNetworks::EmbeddedNetworks(const ScorerSetup& setup)
    : device_(setup.device),
      labels_(beside_weights(setup, "config.json")),
      tokenizer_(engine::load_tokenizer(beside_weights(setup, "tokenizer"))),
      frames_(kRecentFrames),
      videos_(4),
      texts_(256),
      features_(kRecentFrames),
      flows_(kRecentFrames) {
  const LoadedWeights loaded = setup.weights.load(kEmbeddedWeights);
  const engine::WeightReader reader(loaded.tensors, loaded.source, {c10::ScalarType::Float, setup.device});
  networks_ = std::make_unique<engine::ScorerNetworks>(engine::ParameterSource(reader), labels_.words());
  reader.finish();
  const auto counts = [&](const std::vector<std::string>& names, int64_t expected) {
    return static_cast<int64_t>(names.size()) == expected;
  };
  if (!counts(labels_.shapes(), engine::kScorerShapes) || !counts(labels_.colors(), engine::kScorerColors) ||
      !counts(labels_.motions(), engine::kScorerMotions) ||
      !counts(labels_.backgrounds(), engine::kScorerBackgrounds)) {
    throw DataError(beside_weights(setup, "config.json").string(),
                    "expected as many names as the networks have outputs");
  }
}

std::shared_ptr<EmbeddedNetworks> EmbeddedNetworks::load(const ScorerSetup& setup) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<EmbeddedNetworks>> known;
  const std::string key = setup.weights.identify(kEmbeddedWeights).sha256 + setup.device.str();
  const std::lock_guard lock(mutex);
  std::shared_ptr<EmbeddedNetworks> networks = known[key].lock();
  if (!networks) known[key] = networks = std::make_shared<EmbeddedNetworks>(setup);
  return networks;
}

engine::FrameOutputs EmbeddedNetworks::look(const at::Tensor& frames) {
  const at::NoGradGuard no_grad;
  std::vector<uint64_t> keys;
  std::vector<int64_t> fresh;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    keys.push_back(content_key(frames[f]));
    if (!frames_.has(keys.back())) fresh.push_back(f);
  }
  std::vector<engine::FrameOutputs> made(keys.size());
  if (!fresh.empty()) {
    const at::Tensor wanted = frames.index_select(0, at::tensor(fresh));
    const engine::FrameOutputs out = networks_->frame.forward(engine::scorer_images(wanted).to(device_));
    for (size_t i = 0; i < fresh.size(); ++i) {
      const auto place = static_cast<size_t>(fresh[i]);
      made[place] = frames_.get(keys[place], [&] { return one_of(out, static_cast<int64_t>(i)); });
    }
  }
  for (size_t f = 0; f < keys.size(); ++f) {
    if (!made[f].map.defined())
      made[f] = frames_.get(keys[f], [&] { return one_of(look(frames.narrow(0, static_cast<int64_t>(f), 1)), 0); });
  }
  return joined_outputs(made);
}

at::Tensor EmbeddedNetworks::qualities(const at::Tensor& frames) {
  const at::NoGradGuard no_grad;
  return in_batches(
      frames, device_, [](const at::Tensor& batch) { return engine::scorer_images(batch); },
      [&](const at::Tensor& images) { return networks_->quality.forward(images).sigmoid(); });
}

engine::VideoOutputs EmbeddedNetworks::watch(const at::Tensor& frames) {
  const at::NoGradGuard no_grad;
  return videos_.get(content_key(frames), [&] {
    const engine::FrameOutputs seen = look(frames);
    return networks_->video.forward(seen.map.unsqueeze(0), engine::object_paths(seen.detections.unsqueeze(0)));
  });
}

const engine::TextOutputs& EmbeddedNetworks::read(const std::string& text) {
  const at::NoGradGuard no_grad;
  return texts_.get(std::hash<std::string>{}(text), [&] {
    const at::Tensor ids = at::zeros({1, engine::kScorerTextTokens}, at::kLong);
    const std::vector<int64_t> tokens = tokenizer_->encode(text, engine::kScorerTextTokens);
    for (size_t i = 0; i < tokens.size(); ++i) ids[0][static_cast<int64_t>(i)] = tokens[i];
    return networks_->text.forward(ids.to(device_));
  });
}

const at::Tensor& EmbeddedNetworks::flow(const at::Tensor& from, const at::Tensor& to) {
  const at::NoGradGuard no_grad;
  const uint64_t first = content_key(from), second = content_key(to);
  return flows_.get(joint_key(first, second), [&] {
    const auto features = [&](const at::Tensor& frame, uint64_t key) {
      return features_.get(key, [&] { return networks_->flow.encode(engine::scorer_images(frame).to(device_)); });
    };
    const at::Tensor fine = networks_->flow.flow(features(from, first), features(to, second)).fine.cpu();
    const double wide = static_cast<double>(from.size(3)) / static_cast<double>(engine::kScorerWidth);
    const double high = static_cast<double>(from.size(2)) / static_cast<double>(engine::kScorerHeight);
    return fine * at::tensor({wide, high}, at::kFloat).view({1, 2, 1, 1});
  });
}

}  // namespace vorta::metrics
