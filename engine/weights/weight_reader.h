// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/placement.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Hands out tensors by name, checks their shapes, casts them, and remembers which nobody asked for. Copies and scopes
/// share one memory of what was taken. Not for use from several threads at once.
class WeightReader {
 public:
  /// `source` names the file or folder in messages. Every tensor moves to the placement's device when it is taken.
  /// They are cast to its dtype, or to float32 when the full name contains one of the words in `keep_float32`.
  WeightReader(const TensorMap& weights, std::string source, const Placement& placement,
               std::vector<std::string> keep_float32 = {});

  /// The same reader below `prefix` + ".".
  WeightReader scope(std::string_view prefix) const;
  WeightReader scope(std::string_view prefix, int64_t index) const;  // "<prefix>.<index>."

  /// The tensor called `name` in this scope, with exactly `shape`; the same handle when it need not change.
  /// @throws DataError naming source, key, expected and found shape; also when its elements are no floating-point
  /// numbers.
  at::Tensor take(std::string_view name, at::IntArrayRef shape) const;
  /// The whole number called `name`, an int64 of shape []. @throws DataError when it is none.
  int64_t take_count(std::string_view name) const;
  bool has(std::string_view name) const;
  /// Marks every key below `prefix` + "." (or the key `prefix` itself) as known without using it.
  void ignore(std::string_view prefix) const;

  c10::ScalarType dtype() const;
  const std::string& source() const;
  std::string full_name(std::string_view name) const { return prefix_ + std::string(name); }

  /// DataError listing the keys that nobody took, of the whole map whatever the scope.
  void finish() const;

 private:
  struct State;
  const at::Tensor& find(const std::string& key, at::IntArrayRef shape) const;

  std::shared_ptr<State> state_;
  std::string prefix_;
};

}  // namespace vorta::engine
