// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <mutex>

namespace vorta::engine {

/// Rendered clips some batches ahead of their use, so that a device need not wait for the CPU. Threads may share one.
class ClipQueue {
 public:
  /// A pure function of the batch's number; called on background threads.
  using Render = std::function<at::Tensor(int64_t index)>;

  /// Keeps up to `ahead` batches under way, none numbered `end` or higher.
  ClipQueue(Render render, int64_t ahead, int64_t end);

  /// Starts batch `index` and those after it that may be under way.
  void start(int64_t index);
  /// Batch `index`, in any order; fastest when the numbers follow each other. Rethrows what its rendering threw.
  at::Tensor take(int64_t index);

 private:
  void start_from(int64_t index);
  void launch(int64_t index);

  Render render_;
  int64_t ahead_;
  int64_t end_;
  std::mutex mutex_;
  std::map<int64_t, std::future<at::Tensor>> under_way_;
  int64_t started_ = 0;  // no batch from this number on was started
};

}  // namespace vorta::engine
