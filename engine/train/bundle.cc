// SPDX-License-Identifier: Apache-2.0
#include "engine/train/bundle.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/train/captions.h"
#include "engine/train/export.h"

namespace vorta::engine {

using nlohmann::json;

TensorMap with_prefix_removed(const TensorMap& all, const std::string& prefix) {
  TensorMap part;
  for (const auto& [name, tensor] : all) {
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  }
  return part;
}

void write_model_bundle(const std::filesystem::path& dir, const ModelBundle& bundle) {
  namespace fs = std::filesystem;
  write_component(dir / "transformer", wan_config_json(bundle.transformer),
                  with_prefix_removed(bundle.weights, kTransformerPrefix), "diffusion_pytorch_model");
  write_component(dir / "text_encoder", umt5_config_json(bundle.text_encoder),
                  with_prefix_removed(bundle.weights, kTextPrefix), "model");
  write_tokenizer(dir / "tokenizer", bundle.max_tokens);
  fs::create_directories(dir / "vae");
  for (const char* name : {"config.json", "diffusion_pytorch_model.safetensors"}) {
    write_file_atomically(dir / "vae" / name, read_file(bundle.vae_dir / name));
  }
  const SamplingDefaults& defaults = bundle.defaults;
  const json scheduler{{"_class_name", "UniPCMultistepScheduler"},
                       {"_diffusers_version", "0.33.1"},
                       {"prediction_type", "flow_prediction"},
                       {"use_flow_sigmas", true},
                       {"num_train_timesteps", 1000},
                       {"solver_order", 2},
                       {"solver_type", "bh2"},
                       {"predict_x0", true},
                       {"lower_order_final", true},
                       {"disable_corrector", json::array()},
                       {"final_sigmas_type", "zero"},
                       {"thresholding", false},
                       {"flow_shift", defaults.flow_shift}};
  fs::create_directories(dir / "scheduler");
  write_file_atomically(dir / "scheduler" / "scheduler_config.json", scheduler.dump(2) + "\n");
  const json index{{"_class_name", "WanPipeline"},
                   {"_diffusers_version", "0.33.1"},
                   {"scheduler", {"diffusers", "UniPCMultistepScheduler"}},
                   {"text_encoder", {"transformers", "UMT5EncoderModel"}},
                   {"tokenizer", {"transformers", "T5TokenizerFast"}},
                   {"transformer", {"diffusers", "WanTransformer3DModel"}},
                   {"vae", {"diffusers", "AutoencoderKLWan"}}};
  write_file_atomically(dir / "model_index.json", index.dump(2) + "\n");
  const json sampling{{"frames", defaults.clip.frames},
                      {"height", defaults.clip.height},
                      {"width", defaults.clip.width},
                      {"steps", defaults.steps},
                      {"guidance", defaults.guidance},
                      {"flow_shift", defaults.flow_shift},
                      {"fps", defaults.fps},
                      {"max_sequence_length", bundle.max_tokens}};
  write_file_atomically(dir / "vorta_defaults.json", sampling.dump(2) + "\n");
}

}  // namespace vorta::engine
