// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/lora.h"

#include "engine/base/error.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/lora_names.h"
#include "engine/weights/safetensors.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <map>

namespace vorta::engine {
namespace {

// A tensor and the key it stands under.
struct Part {
  std::string key;
  at::Tensor tensor;
};

// Everything a file says about one module of its own.
using Parts = std::map<LoraRole, Part>;

// As [out, in] fp32: kernels of convolutions become rows, as their products are computed.
at::Tensor matrix(const at::Tensor& x) { return x.to(at::kFloat).flatten(1); }

class Reader {
 public:
  Reader(const std::string& source, const TensorMap& model) : source_(source), model_(model) {
    result_.report.file = source;
  }

  LoraChanges read(const TensorMap& tensors) {
    std::map<std::string, Parts> modules;
    std::vector<std::string> names;
    bool kohya = false;
    for (const auto& [key, tensor] : tensors) {
      const LoraKey parsed = parse_lora_key(key);
      if (parsed.role == LoraRole::kNone) {
        leave_out(key, key.ends_with(".dora_scale") ? "weight-decomposed (DoRA) changes are not done here"
                                                    : "not the name of a change of weights");
        continue;
      }
      kohya = kohya || parsed.kohya;
      names.push_back(parsed.module);
      const bool fresh = modules[parsed.module].emplace(parsed.role, Part{key, tensor}).second;
      if (!fresh)
        throw DataError(source_, fmt::format("{}: expected one such change, found two under different prefixes", key));
    }
    const LoraStyle style = lora_style(names);
    result_.report.style =
        fmt::format("{}{}", style == LoraStyle::kOriginal ? "original" : "diffusers", kohya ? ", kohya" : "");
    names_ = lora_names(model_, style);
    for (const auto& [module, parts] : modules) read_module(module, parts);
    if (result_.report.matched == 0) {
      throw DataError(
          source_,
          fmt::format(
              "expected changes of this model, found none among {} keys, such as \"{}\": a LoRA for another model",
              tensors.size(), tensors.empty() ? "" : tensors.begin()->first));
    }
    return std::move(result_);
  }

 private:
  void leave_out(const std::string& key, const std::string& reason) {
    result_.report.unmatched.emplace_back(key, reason);
  }

  void leave_out_all(const Parts& parts, const std::string& reason) {
    for (const auto& [role, part] : parts) leave_out(part.key, reason);
  }

  void read_module(const std::string& module, Parts parts) {
    if (const auto found = parts.find(LoraRole::kDiffModulation); found != parts.end()) {
      read_modulation(module, found->second);
      parts.erase(found);
    }
    if (parts.empty()) return;
    const LoraTarget* target = names_.find(module);
    if (target == nullptr) {
      leave_out_all(parts, "the model has no such module");
      return;
    }
    if (const auto found = parts.find(LoraRole::kDiff); found != parts.end())
      read_difference(*target, ".weight", found->second);
    if (const auto found = parts.find(LoraRole::kDiffBias); found != parts.end())
      read_difference(*target, ".bias", found->second);
    read_low_rank(*target, parts);
  }

  // "blocks.0.diff_m" and "blocks.0.modulation.diff_m" are of the table of shifts and scales.
  void read_modulation(const std::string& module, const Part& part) {
    for (const char* ending : {"", ".modulation", "_modulation", ".scale_shift_table", "_scale_shift_table"}) {
      const LoraTarget* target = names_.find(module + ending);
      if (target == nullptr || !model_.contains(target->modules.front())) continue;
      add_difference(target->modules.front(), part.tensor.to(at::kFloat), part);
      ++result_.report.matched;
      return;
    }
    leave_out(part.key, "the model has no such modulation");
  }

  // The parameter of a module, or the module itself where it is a bare one.
  std::string parameter(const std::string& module, const char* ending) const {
    return model_.contains(module + ending) || !model_.contains(module) ? module + ending : module;
  }

  // A fused tensor's rows for each of the target's modules.
  std::vector<at::Tensor> rows_of(const LoraTarget& target, const char* ending, const at::Tensor& fused,
                                  const Part& part) const {
    at::Tensor rows = fused;
    if (target.halves_swapped && rows.size(0) % 2 == 0) {
      const std::vector<at::Tensor> halves = rows.chunk(2, 0);
      rows = at::cat({halves[1], halves[0]});
    }
    if (target.modules.size() == 1) return {rows};
    std::vector<int64_t> sizes;
    int64_t total = 0;
    for (const std::string& module : target.modules) {
      sizes.push_back(model_.at(parameter(module, ending)).size(0));
      total += sizes.back();
    }
    if (total != rows.size(0)) refuse_size(part, fmt::format("{} rows", total), fmt::format("{}", rows.size(0)));
    return rows.split_with_sizes(sizes, 0);
  }

  [[noreturn]] void refuse_size(const Part& part, const std::string& expected, const std::string& found) const {
    throw DataError(source_,
                    fmt::format("{}: expected {}, found {}: a LoRA for another model", part.key, expected, found));
  }

  void read_difference(const LoraTarget& target, const char* ending, const Part& part) {
    for (const std::string& module : target.modules) {
      if (model_.contains(parameter(module, ending))) continue;
      leave_out(part.key, fmt::format("the model's {} has no {}", module, ending + 1));
      return;
    }
    const std::vector<at::Tensor> rows = rows_of(target, ending, part.tensor.to(at::kFloat), part);
    for (size_t i = 0; i < rows.size(); ++i) add_difference(parameter(target.modules[i], ending), rows[i], part);
    ++result_.report.matched;
  }

  void add_difference(const std::string& name, const at::Tensor& difference, const Part& part) {
    const at::IntArrayRef wanted = model_.at(name).sizes();
    if (difference.squeeze().sizes() != model_.at(name).squeeze().sizes()) {
      refuse_size(part, fmt::format("the shape [{}] of {}", fmt::join(wanted, ", "), name),
                  fmt::format("[{}]", fmt::join(difference.sizes(), ", ")));
    }
    add({name, {}, {}, difference.reshape(wanted), 1});
  }

  void read_low_rank(const LoraTarget& target, const Parts& parts) {
    const auto down = parts.find(LoraRole::kDown), up = parts.find(LoraRole::kUp);
    const auto alpha = parts.find(LoraRole::kAlpha), mid = parts.find(LoraRole::kMid);
    std::vector<const Part*> mine;
    for (const auto& found : {down, up, alpha, mid}) {
      if (found != parts.end()) mine.push_back(&found->second);
    }
    if (mine.empty()) return;
    std::string reason;
    if (mid != parts.end()) reason = "changes with a middle (LoCon) are not done here";
    else if (down == parts.end() && up == parts.end()) reason = "an alpha without a change";
    else if (down == parts.end()) reason = "half a change: the other half, down, is missing";
    else if (up == parts.end()) reason = "half a change: the other half, up, is missing";
    for (const std::string& module : target.modules) {
      if (reason.empty() && !model_.contains(parameter(module, ".weight")))
        reason = fmt::format("the model's {} has no weight", module);
    }
    if (!reason.empty()) {
      for (const Part* part : mine) leave_out(part->key, reason);
      return;
    }
    const at::Tensor a = matrix(down->second.tensor), b = matrix(up->second.tensor);
    if (a.size(0) != b.size(1))
      refuse_size(up->second, fmt::format("rank {}, as down has", a.size(0)), fmt::format("{}", b.size(1)));
    const double scale =
        alpha == parts.end() ? 1 : alpha->second.tensor.to(at::kDouble).item<double>() / static_cast<double>(a.size(0));
    const std::vector<at::Tensor> ups = rows_of(target, ".weight", b, up->second);
    for (size_t i = 0; i < ups.size(); ++i) {
      const std::string name = parameter(target.modules[i], ".weight");
      const at::Tensor weight = model_.at(name);
      const int64_t columns = weight.numel() / std::max<int64_t>(weight.size(0), 1);
      if (weight.dim() < 2 || weight.size(0) != ups[i].size(0) || columns != a.size(1)) {
        refuse_size(up->second, fmt::format("a change of the shape [{}] of {}", fmt::join(weight.sizes(), ", "), name),
                    fmt::format("[{}, {}]", ups[i].size(0), a.size(1)));
      }
      add({name, a.contiguous(), ups[i].contiguous(), {}, scale});
    }
    result_.report.matched += static_cast<int64_t>(mine.size());
  }

  void add(LoraChange change) {
    constexpr std::array<std::string_view, 3> kTime{"time_embedder", "timestep_embedder", "guidance_embedder"};
    for (const std::string_view word : kTime) {
      result_.report.touches_time = result_.report.touches_time || change.parameter.find(word) != std::string::npos;
    }
    result_.changes.push_back(std::move(change));
  }

  std::string source_;
  const TensorMap& model_;
  LoraNames names_;
  LoraChanges result_;
};

// A key of a whole checkpoint: "blocks.0.self_attn.q.weight" is a module and an ending, "head.modulation" bare.
struct WholeKey {
  std::string module, ending;
};

WholeKey whole_key(const std::string& key) {
  const std::string name = parse_lora_key(key).module;  // without its prefix
  for (const char* ending : {".weight", ".bias"}) {
    if (name.ends_with(ending)) return {name.substr(0, name.rfind('.')), ending};
  }
  return {name, ""};
}

// The rows of a file's tensor for each parameter it stands for, the file's halves put right.
std::vector<at::Tensor> rows_for(const LoraTarget& target, const std::string& ending, const at::Tensor& tensor,
                                 const TensorMap& model) {
  at::Tensor rows = tensor;
  if (target.halves_swapped) {
    const std::vector<at::Tensor> halves = rows.chunk(2, 0);
    rows = at::cat({halves.back(), halves.front()});
  }
  if (target.modules.size() == 1) return {rows};
  std::vector<at::Tensor> parts;
  int64_t at = 0;
  for (const std::string& module : target.modules) {
    const auto found = model.find(module + ending);
    const int64_t count = found == model.end() ? 0 : found->second.size(0);
    if (at + count > rows.size(0)) return {};
    parts.push_back(rows.narrow(0, at, count));
    at += count;
  }
  return at == rows.size(0) ? parts : std::vector<at::Tensor>();
}

bool is_side_path(const LoraChange& change, const TensorMap& model) {
  return !change.difference.defined() && model.at(change.parameter).dim() == 2 && change.parameter.ends_with(".weight");
}

// The network in a training's checkpoint: of several copies that which is meant for use. Empty prefix: nothing is
// around it.
TensorMap unwrapped(const TensorMap& file) {
  constexpr std::array<std::string_view, 5> kWrappers{"generator_ema.", "generator.", "module.", "state_dict.", ""};
  for (const std::string_view wrapper : kWrappers) {
    TensorMap inside;
    for (const auto& [key, tensor] : file) {
      if (key.starts_with(wrapper)) inside[key.substr(wrapper.size())] = tensor;
    }
    if (!inside.empty()) return inside;
  }
  return file;
}

using PartsOfParameter = std::map<std::string, std::vector<std::pair<const LoraChange*, double>>>;

void merge(const PartsOfParameter& parts, c10::ScalarType network, TensorMap& model) {
  for (const auto& [name, changes] : parts) {
    at::Tensor& parameter = model.at(name);
    at::Tensor sum = parameter.to(at::kFloat);
    for (const auto& [change, strength] : changes)
      sum = sum + strength * lora_difference(*change, parameter.sizes()).to(parameter.device());
    parameter = sum.to(c10::promoteTypes(parameter.scalar_type(), network));
  }
}

}  // namespace

std::vector<std::string> LoraReport::lines() const {
  std::vector<std::string> out{fmt::format(
      "{}: {} keys ({} names), {} left out{}", file, matched + static_cast<int64_t>(unmatched.size()), style,
      unmatched.size(), touches_time ? "; changes the time embedding, which routers are trained on" : "")};
  for (const auto& [key, reason] : unmatched) out.push_back(fmt::format("  {}: {}", key, reason));
  return out;
}

LoraChanges read_lora(const TensorMap& tensors, const std::string& source, const TensorMap& model) {
  return Reader(source, model).read(tensors);
}

LoraChanges read_lora(const std::filesystem::path& path, const TensorMap& model) {
  return read_lora(read_safetensors(path).tensors, path.string(), model);
}

at::Tensor lora_difference(const LoraChange& change, at::IntArrayRef shape) {
  if (change.difference.defined()) return change.difference;
  return (at::matmul(change.up, change.down) * change.scale).reshape(shape);
}

TensorMap read_renamed_weights(const std::filesystem::path& path, const TensorMap& model) {
  const TensorMap file = unwrapped(read_checkpoint(path));
  std::vector<std::string> modules;
  for (const auto& [key, tensor] : file) modules.push_back(whole_key(key).module);
  const LoraNames names = lora_names(model, lora_style(modules));
  TensorMap weights;
  for (const auto& [key, tensor] : file) {
    const WholeKey whole = whole_key(key);
    const LoraTarget* target = names.find(whole.module);
    const std::vector<at::Tensor> rows =
        target == nullptr ? std::vector<at::Tensor>() : rows_for(*target, whole.ending, tensor, model);
    if (rows.empty())
      throw DataError(path.string(),
                      fmt::format("{}: expected a parameter of this model: a checkpoint of another one", key));
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string name = target->modules[i] + whole.ending;
      const auto wanted = model.find(name);
      if (wanted == model.end() || wanted->second.sizes() != rows[i].sizes()) {
        throw DataError(
            path.string(),
            fmt::format("{}: expected the shape [{}] of {}, found [{}]", key,
                        wanted == model.end() ? "" : fmt::format("{}", fmt::join(wanted->second.sizes(), ", ")), name,
                        fmt::join(rows[i].sizes(), ", ")));
      }
      weights[name] = rows[i];
    }
  }
  for (const auto& [name, tensor] : model) {
    if (!weights.contains(name))
      throw DataError(path.string(), fmt::format("expected a tensor for {}, found none", name));
  }
  return weights;
}

void merge_loras(const std::vector<WeightedLora>& loras, c10::ScalarType network, TensorMap& model) {
  PartsOfParameter parts;
  for (const WeightedLora& lora : loras) {
    for (const LoraChange& change : lora.changes->changes) parts[change.parameter].emplace_back(&change, lora.strength);
  }
  merge(parts, network, model);
}

void attach_loras(const std::vector<WeightedLora>& loras, c10::ScalarType network, TensorMap& model) {
  PartsOfParameter merged;
  for (const WeightedLora& lora : loras) {
    for (const LoraChange& change : lora.changes->changes) {
      if (!is_side_path(change, model)) {
        merged[change.parameter].emplace_back(&change, lora.strength);
        continue;
      }
      const std::string module = change.parameter.substr(0, change.parameter.rfind('.'));
      at::Tensor& down = model[module + kLoraDown];
      at::Tensor& up = model[module + kLoraUp];
      const at::Tensor scaled = change.up * (change.scale * lora.strength);
      down = down.defined() ? at::cat({down, change.down}) : change.down;
      up = up.defined() ? at::cat({up, scaled}, 1) : scaled;
      model[module + kLoraRank] = at::scalar_tensor(down.size(0), at::kLong);
    }
  }
  merge(merged, network, model);
}

}  // namespace vorta::engine
