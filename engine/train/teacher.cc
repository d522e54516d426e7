// SPDX-License-Identifier: Apache-2.0
#include "engine/train/teacher.h"

#include "engine/attention/attention.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/train/captions.h"
#include "engine/train/distill_losses.h"
#include "engine/train/text_batch.h"
#include "engine/train/clip_batch.h"
#include "engine/weights/weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vorta::engine {
namespace {

constexpr const char* kTeacherClass = "WanTransformer3DModel";

WanTransformerConfig read_teacher_config(const std::filesystem::path& path) {
  const nlohmann::json config = read_json_file(path);
  const std::string kind = config.is_object() ? config.value("_class_name", std::string(kTeacherClass)) : "";
  if (kind != kTeacherClass) {
    throw ConfigError("--model",
                      fmt::format("{}: expected a {}, the kind whose students and adapted weights are trained; "
                                  "found \"{}\"",
                                  path.string(), kTeacherClass, kind));
  }
  return parse_wan_config(config, path.string() + "#");
}

}  // namespace

Teacher::Teacher(const Schooling& setup)
    : setup_(setup),
      device_(open_device(setup.options.device)),
      dtype_(parse_train_dtype(setup.options.dtype)),
      config_(read_teacher_config(setup.model / "transformer" / "config.json")),
      weights_(read_weight_folder(setup.model / "transformer")),
      vae_(load_vae(setup.model / "vae", {dtype_, device_})),
      pool_(*vae_, setup.clip, setup.pool, device_) {
  const at::NoGradGuard no_grad;
  const auto transformer = setup.model / "transformer", text = setup.model / "text_encoder";
  const TensorMap text_weights = read_weight_folder(text);
  const Umt5Config text_config =
      parse_umt5_config(read_json_file(text / "config.json"), (text / "config.json").string());
  for (int64_t i = 0; i < setup.options.replicas; ++i) {
    const Placement placement{dtype_, open_device(setup.options.device, i)};
    Copy& copy = copies_.emplace_back();
    copy.transformer = std::make_unique<WanTransformer>(config_, weights_, transformer.string(), placement);
    copy.text = std::make_unique<Umt5Encoder>(text_config, WeightReader(text_weights, text.string(), placement));
  }
}

Lesson Teacher::lesson(int64_t step, int64_t micro, const Replica& replica) const {
  const at::NoGradGuard no_grad;
  const uint64_t seed = setup_.options.seed;
  const auto number = static_cast<uint64_t>(step * setup_.options.accumulate + micro);
  SceneRandom random(derive_seed(seed, SeedStream::kScenes, number));
  Lesson out;
  std::vector<std::string> captions;
  for (int64_t i = 0; i < setup_.batch; ++i) {
    out.slots.push_back(random.below(static_cast<int>(pool_.size())));
    const uint64_t wording = derive_seed(seed, SeedStream::kWording, number) + static_cast<uint64_t>(i);
    const bool dropped = setup_.caption_dropout > 0 && random.chance(setup_.caption_dropout);
    captions.push_back(dropped ? "" : caption(pool_.scene(out.slots.back()), wording));
  }
  const Umt5Encoder& encoder = text_encoder(replica);
  out.text = encode_captions(encoder, captions, setup_.max_tokens, replica.device);
  out.empty_text = encode_captions(encoder, {""}, setup_.max_tokens, replica.device).expand_as(out.text);
  out.noise_seed = derive_seed(seed, SeedStream::kNoise, number);
  return out;
}

FlowSample Teacher::sample(const Lesson& lesson, const at::Tensor& sigmas, const Replica& replica) const {
  return noisy_sample(pool_.gather(lesson.slots).to(replica.device), sigmas,
                      generator_on(replica.device, lesson.noise_seed + 1));
}

at::Tensor Teacher::guided(const Replica& replica, const at::Tensor& x, const at::Tensor& sigmas, const Lesson& lesson,
                           double guidance) const {
  const at::NoGradGuard no_grad;
  const at::Tensor both = dense_velocity(transformer(replica), at::cat({x, x}), at::cat({sigmas, sigmas}),
                                         at::cat({lesson.text, lesson.empty_text}));
  return guided_velocity(both, guidance);
}

at::Tensor dense_velocity(WanTransformer& network, const at::Tensor& x, const at::Tensor& sigmas,
                          const at::Tensor& text) {
  const auto dense = make_attention("dense", {});
  dense->plan(network.token_grid({x.size(2), x.size(3), x.size(4)}));
  return network.forward(x.to(network.dtype()), sigmas * 1000, text, {*dense, 0}).to(at::kFloat);
}

}  // namespace vorta::engine
