// SPDX-License-Identifier: Apache-2.0
#include "metrics/core/scorer_weights.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>

#include "engine/base/error.h"
#include "engine/base/registry.h"
#include "engine/base/sha256.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/mapped_file.h"

namespace vorta::metrics {
namespace fs = std::filesystem;
namespace {

constexpr std::array kFiles{
    WeightFile{"dino_vitb16", "dino_model/dino_vitbase16_pretrain.pth",
               ".cache/torch/hub/checkpoints/dino_vitbase16_pretrain.pth",
               "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth", "Apache-2.0",
               "", ""},
    WeightFile{"clip_vitb32", "clip_model/ViT-B-32.pt", ".cache/clip/ViT-B-32.pt",
               "https://openaipublic.azureedge.net/clip/models/"
               "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
               "MIT", "", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"},
    WeightFile{"clip_vitl14", "clip_model/ViT-L-14.pt", ".cache/clip/ViT-L-14.pt",
               "https://openaipublic.azureedge.net/clip/models/"
               "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
               "MIT", "", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"},
    WeightFile{"laion_head", "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth", "",
               "https://github.com/LAION-AI/aesthetic-predictor/blob/main/sa_0_4_vit_l_14_linear.pth?raw=true", "MIT",
               "", "2cd4e60f"},
    WeightFile{"musiq_spaq", "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth", "",
               "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
               "PolyForm-Noncommercial-1.0.0", "", "358bb6af"},
    WeightFile{"amt_s", "amt_model/amt-s.pth", "", "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
               "CC-BY-NC-4.0", "state_dict", ""},
    WeightFile{"raft_things", "raft_model/models/raft-things.pth", "",
               "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip (unpack it in raft_model)",
               "BSD-3-Clause", "", ""},
    WeightFile{
        "umt_l16", "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth", "",
        "https://huggingface.co/OpenGVLab/VBench_Used_Models/resolve/main/l16_ptk710_ftk710_ftk400_f16_res224.pth",
        "not stated upstream", "", ""},
    WeightFile{"viclip", "ViCLIP/ViClip-InternVid-10M-FLT.pth", "",
               "https://huggingface.co/OpenGVLab/VBench_Used_Models/resolve/main/ViClip-InternVid-10M-FLT.pth",
               "not stated upstream", "model", ""},
    WeightFile{"grit_b", "grit_model/grit_b_densecap_objectdet.pth", "",
               "https://huggingface.co/OpenGVLab/VBench_Used_Models/resolve/main/grit_b_densecap_objectdet.pth",
               "not stated upstream", "model", ""},
    WeightFile{
        "bert_vocabulary", "bert-base-uncased/vocab.txt",
        ".cache/huggingface/hub/models--bert-base-uncased/snapshots/86b5e0934494bd15c9632b12f734a8a67f723594/vocab.txt",
        "https://huggingface.co/google-bert/bert-base-uncased/resolve/main/vocab.txt", "Apache-2.0", "", "07eced37"},
    WeightFile{"tag2text", "caption_model/tag2text_swin_14m.pth", "",
               "https://huggingface.co/spaces/xinyu1205/recognize-anything/resolve/main/tag2text_swin_14m.pth",
               "not stated upstream", "model", ""},
    WeightFile{"alexnet", "lpips_model/alexnet-owt-7be5be79.pth",
               ".cache/torch/hub/checkpoints/alexnet-owt-7be5be79.pth",
               "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "BSD-3-Clause", "", "7be5be79"},
    WeightFile{"lpips_alex", "lpips_model/alex.pth", "", "PyPI's lpips 0.1.4 (lpips/weights/v0.1/alex.pth)",
               "BSD-2-Clause", "", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"},
    WeightFile{"embedded_scorers", "scorers.safetensors", "", "this program (vorta-bench train scorer makes it)",
               "Apache-2.0", "", "", /*bundled=*/true},
};

fs::path home() {
  const char* folder = std::getenv("HOME");
  return folder == nullptr ? fs::path() : fs::path(folder);
}

/// The state dict below `container` (where the file has it), without the "module." of torch.nn.DataParallel.
engine::TensorMap unwrap(engine::TensorMap tensors, std::string_view container) {
  const std::string below = std::string(container) + ".";
  const auto first = container.empty() ? tensors.end() : tensors.lower_bound(below);
  const bool wrapped = first != tensors.end() && first->first.starts_with(below);
  constexpr std::string_view kParallel = "module.";
  engine::TensorMap plain;
  for (auto& [name, tensor] : tensors) {
    std::string_view rest = name;
    if (wrapped && !rest.starts_with(below)) continue;  // an optimiser's or a schedule's tensors
    if (wrapped) rest.remove_prefix(below.size());
    if (rest.starts_with(kParallel)) rest.remove_prefix(kParallel.size());
    plain.emplace(rest, std::move(tensor));
  }
  return plain;
}

}  // namespace

std::span<const WeightFile> weight_files() { return kFiles; }

const WeightFile& find_weight_file(std::string_view name) { return find_entry(weight_files(), "scorer weights", name); }

ScorerWeights ScorerWeights::from_environment() {
  const char* folder = std::getenv("VBENCH_CACHE_DIR");
  return ScorerWeights(folder != nullptr && *folder != '\0' ? fs::path(folder) : home() / ".cache" / "vbench");
}

fs::path ScorerWeights::bundled_root() {
  const char* folder = std::getenv("VORTA_DATA_DIR");
  const fs::path data = folder != nullptr && *folder != '\0' ? fs::path(folder) : fs::path(VORTA_SOURCE_DIR);
  return data / "suites" / "embedded" / "scorers";
}

fs::path ScorerWeights::path_of(const WeightFile& file) const { return (file.bundled ? bundled_ : root_) / file.path; }

std::optional<fs::path> ScorerWeights::find(std::string_view name) const {
  const WeightFile& file = find_weight_file(name);
  const fs::path official = path_of(file);
  for (const fs::path& candidate : {fs::path(official.string() + ".safetensors"), official,
                                    file.elsewhere.empty() ? fs::path() : home() / file.elsewhere}) {
    std::error_code ignored;
    if (!candidate.empty() && fs::is_regular_file(candidate, ignored)) return candidate;
  }
  return std::nullopt;
}

std::vector<std::string_view> ScorerWeights::missing(std::span<const std::string_view> names) const {
  std::vector<std::string_view> absent;
  for (const std::string_view name : names) {
    if (!find(name)) absent.push_back(name);
  }
  return absent;
}

std::string ScorerWeights::how_to_get(std::string_view name) const {
  const WeightFile& file = find_weight_file(name);
  return fmt::format("{} is missing; {} {} (licence: {})", path_of(file).string(),
                     file.bundled ? "it comes with" : "VBench gets it from", file.url, file.licence);
}

LoadedWeights ScorerWeights::identify(std::string_view name) const {
  const WeightFile& file = find_weight_file(name);
  const auto path = find(name);
  if (!path) throw MachineError(name, how_to_get(name));
  LoadedWeights loaded;
  loaded.source = path->string();
  std::string& hash = hashes_[loaded.source];
  if (hash.empty()) hash = sha256_hex(engine::MappedFile::open(*path)->bytes());
  loaded.sha256 = hash;
  loaded.official = !file.sha256.empty() && loaded.sha256.starts_with(file.sha256);
  return loaded;
}

LoadedWeights ScorerWeights::load(std::string_view name) const {
  LoadedWeights loaded = identify(name);
  loaded.tensors = unwrap(engine::read_checkpoint(loaded.source), find_weight_file(name).container);
  for (const auto& [tensor_name, tensor] :
       loaded.tensors) {  // a verdict from NaN would be "no", and counted; infinite masks are right
    if (!tensor.is_floating_point() || !std::isnan(tensor.sum(at::kFloat).item<float>())) continue;
    throw DataError(loaded.source, fmt::format("tensor \"{}\": expected numbers, found NaN", tensor_name));
  }
  return loaded;
}

}  // namespace vorta::metrics
