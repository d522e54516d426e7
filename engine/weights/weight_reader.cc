// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/weight_reader.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "engine/base/error.h"
#include "engine/base/nearest.h"

namespace vorta::engine {

struct WeightReader::State {
  TensorMap weights;
  std::string source;
  Placement placement;
  std::vector<std::string> keep_float32;
  std::set<std::string, std::less<>> taken;

  c10::ScalarType target(std::string_view key) const {
    const bool keep = std::any_of(keep_float32.begin(), keep_float32.end(),
                                  [&](const auto& word) { return key.find(word) != std::string_view::npos; });
    return keep ? c10::ScalarType::Float : placement.dtype;
  }
};

WeightReader::WeightReader(const TensorMap& weights, std::string source, const Placement& placement,
                           std::vector<std::string> keep_float32)
    : state_(std::make_shared<State>(State{weights, std::move(source), placement, std::move(keep_float32), {}})) {}

WeightReader WeightReader::scope(std::string_view prefix) const {
  WeightReader inner = *this;
  inner.prefix_ = fmt::format("{}{}.", prefix_, prefix);
  return inner;
}

WeightReader WeightReader::scope(std::string_view prefix, int64_t index) const {
  return scope(fmt::format("{}.{}", prefix, index));
}

const at::Tensor& WeightReader::find(const std::string& key, at::IntArrayRef shape) const {
  const auto found = state_->weights.find(key);
  if (found == state_->weights.end()) {
    std::vector<std::string> left;
    for (const auto& [known, unused] : state_->weights) {
      if (!state_->taken.contains(known)) left.push_back(known);
    }
    constexpr std::size_t kShown = 3;
    left = nearest_first(key, std::move(left));
    left.resize(std::min(left.size(), kShown));
    throw DataError(state_->source,
                    fmt::format("tensor \"{}\" of shape [{}] is missing{}{}", key, fmt::join(shape, ", "),
                                left.empty() ? "" : "; unused are: ", fmt::join(left, ", ")));
  }
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != shape) {
    throw DataError(state_->source, fmt::format("tensor \"{}\": expected shape [{}], found [{}]", key,
                                                fmt::join(shape, ", "), fmt::join(tensor.sizes(), ", ")));
  }
  return tensor;
}

int64_t WeightReader::take_count(std::string_view name) const {
  const std::string key = full_name(name);
  const at::Tensor& tensor = find(key, {});
  if (tensor.scalar_type() != c10::ScalarType::Long) {
    throw DataError(state_->source, fmt::format("tensor \"{}\": expected a 64-bit whole number, found {}", key,
                                                c10::toString(tensor.scalar_type())));
  }
  state_->taken.insert(key);
  return tensor.item<int64_t>();
}

at::Tensor WeightReader::take(std::string_view name, at::IntArrayRef shape) const {
  const std::string key = full_name(name);
  const at::Tensor& tensor = find(key, shape);
  if (!tensor.is_floating_point()) {
    throw DataError(state_->source, fmt::format("tensor \"{}\": expected floating-point numbers, found {}", key,
                                                c10::toString(tensor.scalar_type())));
  }
  state_->taken.insert(key);
  return tensor.to(state_->placement.device, state_->target(key));
}

bool WeightReader::has(std::string_view name) const { return state_->weights.contains(full_name(name)); }

void WeightReader::ignore(std::string_view prefix) const {
  const std::string key = full_name(prefix);
  const std::string below = key + ".";
  for (const auto& [name, unused] : state_->weights) {
    if (name == key || name.starts_with(below)) state_->taken.insert(name);
  }
}

c10::ScalarType WeightReader::dtype() const { return state_->placement.dtype; }

const std::string& WeightReader::source() const { return state_->source; }

void WeightReader::finish() const {
  constexpr std::size_t kShown = 8;
  std::vector<std::string> left;
  for (const auto& [name, unused] : state_->weights) {
    if (!state_->taken.contains(name)) left.push_back(name);
  }
  if (left.empty()) return;
  const std::size_t count = left.size();
  left.resize(std::min(count, kShown));
  throw DataError(state_->source, fmt::format("{} tensors that the model does not have: {}{}", count,
                                              fmt::join(left, ", "), count > kShown ? ", ..." : ""));
}

}  // namespace vorta::engine
