// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/lora_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <utility>

namespace vorta::engine {
namespace {

// Longest first where one is the end of another.
constexpr std::array<std::string_view, 7> kPrefixes{"model.diffusion_model.",
                                                    "base_model.model.",
                                                    "diffusion_model.",
                                                    "transformer_2.",
                                                    "transformer.",
                                                    "unet.",
                                                    "model."};
constexpr std::string_view kKohyaPrefixes[] = {"lora_unet_", "lora_transformer_"};

struct Suffix {
  std::string_view text;
  LoraRole role;
};
constexpr Suffix kSuffixes[] = {
    {".lora_A.weight", LoraRole::kDown},
    {".lora_B.weight", LoraRole::kUp},
    {".lora_down.weight", LoraRole::kDown},
    {".lora_up.weight", LoraRole::kUp},
    {".lora_mid.weight", LoraRole::kMid},
    {".lora_linear_layer.down.weight", LoraRole::kDown},
    {".lora_linear_layer.up.weight", LoraRole::kUp},
    {"_lora.down.weight", LoraRole::kDown},
    {"_lora.up.weight", LoraRole::kUp},
    {".lora.down.weight", LoraRole::kDown},
    {".lora.up.weight", LoraRole::kUp},
    {".lora_A", LoraRole::kDown},
    {".lora_B", LoraRole::kUp},
    {".alpha", LoraRole::kAlpha},
    {".diff_b", LoraRole::kDiffBias},
    {".diff_m", LoraRole::kDiffModulation},
    {".diff", LoraRole::kDiff},
};

// "x.lora_A.ADAPTER.weight" -> "x.lora_A.weight": PEFT writes the adapter's name, "default" if it has none.
std::string without_adapter(std::string_view key) {
  for (const std::string_view part : {".lora_A.", ".lora_B."}) {
    const auto at = key.find(part);
    if (at == std::string_view::npos || !key.ends_with(".weight")) continue;
    return std::string(key.substr(0, at)) + std::string(part) + "weight";
  }
  return std::string(key);
}

// "attn1.processor.to_out" -> "attn1.to_out.0": early diffusers kept such changes in attention processors.
std::string of_processor(std::string module) {
  constexpr std::string_view kProcessor = ".processor.";
  if (const auto at = module.find(kProcessor); at != std::string::npos) module.replace(at, kProcessor.size(), ".");
  return module.ends_with(".to_out") ? module + ".0" : module;
}

// One rule: a piece of the model's (diffusers') name and how the file's style has it; '#' is a number.
struct Rename {
  std::string_view model, file;
};
constexpr Rename kWanOriginal[] = {
    {"patch_embedding", "patch_embedding"},
    {"condition_embedder.time_embedder.linear_1", "time_embedding.0"},
    {"condition_embedder.time_embedder.linear_2", "time_embedding.2"},
    {"condition_embedder.time_proj", "time_projection.1"},
    {"condition_embedder.text_embedder.linear_1", "text_embedding.0"},
    {"condition_embedder.text_embedder.linear_2", "text_embedding.2"},
    {"blocks.#.attn1.to_q", "blocks.#.self_attn.q"},
    {"blocks.#.attn1.to_k", "blocks.#.self_attn.k"},
    {"blocks.#.attn1.to_v", "blocks.#.self_attn.v"},
    {"blocks.#.attn1.to_out.0", "blocks.#.self_attn.o"},
    {"blocks.#.attn1.norm_q", "blocks.#.self_attn.norm_q"},
    {"blocks.#.attn1.norm_k", "blocks.#.self_attn.norm_k"},
    {"blocks.#.attn2.to_q", "blocks.#.cross_attn.q"},
    {"blocks.#.attn2.to_k", "blocks.#.cross_attn.k"},
    {"blocks.#.attn2.to_v", "blocks.#.cross_attn.v"},
    {"blocks.#.attn2.to_out.0", "blocks.#.cross_attn.o"},
    {"blocks.#.attn2.norm_q", "blocks.#.cross_attn.norm_q"},
    {"blocks.#.attn2.norm_k", "blocks.#.cross_attn.norm_k"},
    {"blocks.#.attn2.add_k_proj", "blocks.#.cross_attn.k_img"},
    {"blocks.#.attn2.add_v_proj", "blocks.#.cross_attn.v_img"},
    {"blocks.#.attn2.norm_added_k", "blocks.#.cross_attn.norm_k_img"},
    {"blocks.#.ffn.net.0.proj", "blocks.#.ffn.0"},
    {"blocks.#.ffn.net.2", "blocks.#.ffn.2"},
    {"blocks.#.norm2", "blocks.#.norm3"},  // the original's norm2 and norm3 are the other way round here
    {"blocks.#.norm3", "blocks.#.norm2"},
    {"blocks.#.scale_shift_table", "blocks.#.modulation"},
    {"scale_shift_table", "head.modulation"},
    {"proj_out", "head.head"},
};
constexpr Rename kHunyuanOriginal[] = {
    {"x_embedder.proj", "img_in.proj"},
    {"time_text_embed.timestep_embedder.linear_1", "time_in.mlp.0"},
    {"time_text_embed.timestep_embedder.linear_2", "time_in.mlp.2"},
    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.mlp.0"},
    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.mlp.2"},
    {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
    {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
    {"transformer_blocks.#.norm1.linear", "double_blocks.#.img_mod.linear"},
    {"transformer_blocks.#.norm1_context.linear", "double_blocks.#.txt_mod.linear"},
    {"transformer_blocks.#.attn.to_out.0", "double_blocks.#.img_attn_proj"},
    {"transformer_blocks.#.attn.to_add_out", "double_blocks.#.txt_attn_proj"},
    {"transformer_blocks.#.attn.norm_q", "double_blocks.#.img_attn_q_norm"},
    {"transformer_blocks.#.attn.norm_k", "double_blocks.#.img_attn_k_norm"},
    {"transformer_blocks.#.attn.norm_added_q", "double_blocks.#.txt_attn_q_norm"},
    {"transformer_blocks.#.attn.norm_added_k", "double_blocks.#.txt_attn_k_norm"},
    {"transformer_blocks.#.ff.net.0.proj", "double_blocks.#.img_mlp.fc1"},
    {"transformer_blocks.#.ff.net.2", "double_blocks.#.img_mlp.fc2"},
    {"transformer_blocks.#.ff_context.net.0.proj", "double_blocks.#.txt_mlp.fc1"},
    {"transformer_blocks.#.ff_context.net.2", "double_blocks.#.txt_mlp.fc2"},
    {"single_transformer_blocks.#.norm.linear", "single_blocks.#.modulation.linear"},
    {"single_transformer_blocks.#.proj_out", "single_blocks.#.linear2"},
    {"single_transformer_blocks.#.attn.norm_q", "single_blocks.#.q_norm"},
    {"single_transformer_blocks.#.attn.norm_k", "single_blocks.#.k_norm"},
    {"context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.mlp.0"},
    {"context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.mlp.2"},
    {"context_embedder.time_text_embed.text_embedder.linear_1", "txt_in.c_embedder.linear_1"},
    {"context_embedder.time_text_embed.text_embedder.linear_2", "txt_in.c_embedder.linear_2"},
    {"context_embedder.proj_in", "txt_in.input_embedder"},
    {"context_embedder.token_refiner.refiner_blocks.#.attn.to_out.0",
     "txt_in.individual_token_refiner.blocks.#.self_attn_proj"},
    {"context_embedder.token_refiner.refiner_blocks.#.ff.net.0.proj",
     "txt_in.individual_token_refiner.blocks.#.mlp.fc1"},
    {"context_embedder.token_refiner.refiner_blocks.#.ff.net.2", "txt_in.individual_token_refiner.blocks.#.mlp.fc2"},
    {"context_embedder.token_refiner.refiner_blocks.#.norm_out.linear",
     "txt_in.individual_token_refiner.blocks.#.adaLN_modulation.1"},
    {"proj_out", "final_layer.linear"},
};
// What ComfyUI calls modules of HunyuanVideo that the original calls otherwise.
constexpr Rename kHunyuanComfy[] = {
    {"transformer_blocks.#.norm1.linear", "double_blocks.#.img_mod.lin"},
    {"transformer_blocks.#.norm1_context.linear", "double_blocks.#.txt_mod.lin"},
    {"transformer_blocks.#.attn.to_out.0", "double_blocks.#.img_attn.proj"},
    {"transformer_blocks.#.attn.to_add_out", "double_blocks.#.txt_attn.proj"},
    {"transformer_blocks.#.ff.net.0.proj", "double_blocks.#.img_mlp.0"},
    {"transformer_blocks.#.ff.net.2", "double_blocks.#.img_mlp.2"},
    {"transformer_blocks.#.ff_context.net.0.proj", "double_blocks.#.txt_mlp.0"},
    {"transformer_blocks.#.ff_context.net.2", "double_blocks.#.txt_mlp.2"},
    {"single_transformer_blocks.#.norm.linear", "single_blocks.#.modulation.lin"},
    {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
    {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
};
// A fused module of a file, and the model's modules its rows belong to.
struct Fused {
  std::string_view file;
  std::array<std::string_view, 4> models;  // the rest empty
};
constexpr Fused kFused[] = {
    {"double_blocks.#.img_attn_qkv",
     {"transformer_blocks.#.attn.to_q", "transformer_blocks.#.attn.to_k", "transformer_blocks.#.attn.to_v"}},
    {"double_blocks.#.img_attn.qkv",
     {"transformer_blocks.#.attn.to_q", "transformer_blocks.#.attn.to_k", "transformer_blocks.#.attn.to_v"}},
    {"double_blocks.#.txt_attn_qkv",
     {"transformer_blocks.#.attn.add_q_proj", "transformer_blocks.#.attn.add_k_proj",
      "transformer_blocks.#.attn.add_v_proj"}},
    {"double_blocks.#.txt_attn.qkv",
     {"transformer_blocks.#.attn.add_q_proj", "transformer_blocks.#.attn.add_k_proj",
      "transformer_blocks.#.attn.add_v_proj"}},
    {"single_blocks.#.linear1",
     {"single_transformer_blocks.#.attn.to_q", "single_transformer_blocks.#.attn.to_k",
      "single_transformer_blocks.#.attn.to_v", "single_transformer_blocks.#.proj_mlp"}},
    {"txt_in.individual_token_refiner.blocks.#.self_attn_qkv",
     {"context_embedder.token_refiner.refiner_blocks.#.attn.to_q",
      "context_embedder.token_refiner.refiner_blocks.#.attn.to_k",
      "context_embedder.token_refiner.refiner_blocks.#.attn.to_v"}},
};
// Modules of a file whose halves of rows are the other way round.
constexpr Rename kSwapped[] = {{"norm_out.linear", "final_layer.adaLN_modulation.1"}};

// Words that only one style has, in names with dots or underscores.
constexpr std::string_view kOriginalWords[] = {"self_attn",       "cross_attn",      "double_blocks",  "single_blocks",
                                               "time_embedding",  "time_projection", "text_embedding", "head.head",
                                               "head.modulation", "head_head",       "final_layer",    "txt_in",
                                               "img_in"};
constexpr std::string_view kDiffusersWords[] = {"attn1",   "attn2",   "transformer_blocks", "condition_embedder",
                                                "ffn.net", "ffn_net", "context_embedder",   "time_text_embed",
                                                "proj_out"};

// The number where `pattern` has '#', as text; absent when `name` does not fit. Patterns without '#' give "".
std::pair<bool, std::string> match(std::string_view pattern, std::string_view name) {
  const auto at = pattern.find('#');
  if (at == std::string_view::npos) return {pattern == name, ""};
  const std::string_view before = pattern.substr(0, at), after = pattern.substr(at + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after))
    return {false, ""};
  const std::string_view number = name.substr(before.size(), name.size() - before.size() - after.size());
  const bool digits = std::all_of(number.begin(), number.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return {digits, std::string(number)};
}

std::string fill(std::string_view pattern, const std::string& number) {
  std::string out(pattern);
  const auto at = out.find('#');
  if (at != std::string::npos) out.replace(at, 1, number);
  return out;
}

std::set<std::string> modules_of(const TensorMap& model) {
  std::set<std::string> modules;
  for (const auto& [name, tensor] : model) {
    const bool leaf = name.ends_with(".weight") || name.ends_with(".bias");
    modules.insert(leaf ? name.substr(0, name.rfind('.')) : name);
  }
  return modules;
}

template <size_t N>
void add_renames(const Rename (&table)[N], const std::set<std::string>& modules, bool swapped, LoraNames& names) {
  for (const std::string& module : modules) {
    for (const Rename& rule : table) {
      const auto [fits, number] = match(rule.model, module);
      if (fits) names.dotted[fill(rule.file, number)] = {{module}, swapped};
    }
  }
}

void add_fused(const std::set<std::string>& modules, LoraNames& names) {
  for (const std::string& module : modules) {
    for (const Fused& rule : kFused) {
      const auto [fits, number] = match(rule.models.front(), module);
      if (!fits) continue;
      LoraTarget target;
      for (const std::string_view one : rule.models) {
        if (!one.empty()) target.modules.push_back(fill(one, number));
      }
      const bool all =
          std::all_of(target.modules.begin(), target.modules.end(), [&](const auto& m) { return modules.contains(m); });
      if (all) names.dotted[fill(rule.file, number)] = target;
    }
  }
}

std::string with_underscores(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

}  // namespace

const LoraTarget* LoraNames::find(std::string_view module) const {
  if (const auto found = dotted.find(module); found != dotted.end()) return &found->second;
  const auto found = underscored.find(module);
  return found == underscored.end() ? nullptr : &found->second;
}

LoraNames lora_names(const TensorMap& model, LoraStyle style) {
  const std::set<std::string> modules = modules_of(model);
  LoraNames names;
  if (style == LoraStyle::kDiffusers) {
    for (const std::string& module : modules) {
      names.dotted[module] = {{module}};
      if (!module.ends_with(".to_q")) continue;  // diffusers' fuse_qkv_projections
      const std::string stem = module.substr(0, module.size() - 1);
      if (modules.contains(stem + "k") && modules.contains(stem + "v"))
        names.dotted[stem + "qkv"] = {{stem + "q", stem + "k", stem + "v"}};
    }
  } else {
    const bool hunyuan =
        std::any_of(modules.begin(), modules.end(), [](const auto& m) { return m.starts_with("transformer_blocks."); });
    if (hunyuan) {
      add_renames(kHunyuanOriginal, modules, false, names);
      add_renames(kHunyuanComfy, modules, false, names);
      add_renames(kSwapped, modules, true, names);
      add_fused(modules, names);
    } else {
      add_renames(kWanOriginal, modules, false, names);
    }
  }
  for (const auto& [name, target] : names.dotted) names.underscored[with_underscores(name)] = target;
  return names;
}

LoraStyle lora_style(const std::vector<std::string>& modules) {
  int64_t original = 0, diffusers = 0;
  for (const std::string& module : modules) {
    const auto has = [&](std::string_view word) { return module.find(word) != std::string::npos; };
    if (std::any_of(std::begin(kDiffusersWords), std::end(kDiffusersWords), has)) ++diffusers;
    else if (std::any_of(std::begin(kOriginalWords), std::end(kOriginalWords), has)) ++original;
  }
  return original > diffusers ? LoraStyle::kOriginal : LoraStyle::kDiffusers;
}

LoraKey parse_lora_key(std::string_view key) {
  LoraKey parsed;
  std::string name = without_adapter(key);
  for (const std::string_view prefix : kKohyaPrefixes) {
    if (!name.starts_with(prefix)) continue;
    name.erase(0, prefix.size());
    parsed.kohya = true;
    break;
  }
  for (bool again = !parsed.kohya; again;) {  // prefixes can stand one in another
    again = false;
    for (const std::string_view prefix : kPrefixes) {
      if (!name.starts_with(prefix)) continue;
      name.erase(0, prefix.size());
      again = true;
    }
  }
  for (const Suffix& suffix : kSuffixes) {
    if (!name.ends_with(suffix.text)) continue;
    parsed.module = name.substr(0, name.size() - suffix.text.size());
    parsed.role = suffix.role;
    if (suffix.text.starts_with("_lora.")) parsed.module = of_processor(parsed.module);
    return parsed;
  }
  parsed.module = name;
  return parsed;
}

}  // namespace vorta::engine
