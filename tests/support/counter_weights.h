// SPDX-License-Identifier: Apache-2.0
// Weights by a rule instead of a file; the rule is written down in tests/golden/counter_weights.py.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor_map.h"

namespace vorta::tests {

/// u(name, i) of the rule for i < count: float32 [count] in [-1, 1).
inline at::Tensor counter_uniform(std::string_view name, int64_t count) {
  uint64_t start = 0xCBF29CE484222325U;
  for (const char c : name) start = (start ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  at::Tensor out = at::empty({count}, at::kFloat);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) {
    uint64_t x = start + static_cast<uint64_t>(i) + 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    x ^= x >> 31;
    values[i] = static_cast<float>(x >> 40) * 0x1p-23F - 1.0F;
  }
  return out;
}

inline at::Tensor counter_tensor(const std::string& name, const std::vector<int64_t>& shape, double gain = 1.0) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  const at::Tensor u = counter_uniform(name, count);
  if (shape.empty()) return (1 + u / 8).reshape(shape);
  if (shape.size() > 1) {
    return (u * static_cast<float>(gain * std::sqrt(3.0 * static_cast<double>(shape[0]) / static_cast<double>(count))))
        .reshape(shape);
  }
  if (name.ends_with("weight")) return 0.75F + u / 4;
  return name.ends_with("running_var") ? 1 + u / 2 : u / 8;
}

/// The state dict whose names and shapes a file lists, a line each: name, tab, "(2, 3)" (a trailing comma allowed), and
/// for integer tensors a tab and "int64".
inline engine::TensorMap counter_weights(const std::string& list, double gain = 1.0) {
  std::ifstream file(list);
  if (!file) throw std::runtime_error("cannot read " + list);
  engine::TensorMap out;
  for (std::string line; std::getline(file, line);) {
    const std::size_t tab = line.find('\t');
    const std::string name = line.substr(0, tab);
    std::vector<int64_t> shape;
    const char* at = line.c_str() + tab + 2;
    for (char* end = nullptr; *at != ')'; at = end + (*end == ',' ? 1 : 0), at += *at == ' ' ? 1 : 0) {
      shape.push_back(std::strtoll(at, &end, 10));
      if (end == at) throw std::runtime_error("not a shape: " + line);
    }
    out[name] = line.ends_with("int64") ? at::zeros(shape, at::kLong) : counter_tensor(name, shape, gain);
  }
  return out;
}

}  // namespace vorta::tests
