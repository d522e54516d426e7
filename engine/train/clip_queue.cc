// SPDX-License-Identifier: Apache-2.0
#include "engine/train/clip_queue.h"

#include <algorithm>
#include <utility>

namespace vorta::engine {

ClipQueue::ClipQueue(Render render, int64_t ahead, int64_t end)
    : render_(std::move(render)), ahead_(ahead), end_(end) {}

void ClipQueue::start(int64_t index) {
  const std::lock_guard lock(mutex_);
  start_from(index);
}

void ClipQueue::start_from(int64_t index) {
  if (index < started_ && !under_way_.contains(index)) launch(index);
  started_ = std::max(started_, index);
  while (started_ <= index || started_ < std::min(index + ahead_, end_)) launch(started_++);
}

void ClipQueue::launch(int64_t index) { under_way_[index] = std::async(std::launch::async, render_, index); }

at::Tensor ClipQueue::take(int64_t index) {
  std::future<at::Tensor> batch;
  {
    const std::lock_guard lock(mutex_);
    start_from(index);
    batch = std::move(under_way_.at(index));
    under_way_.erase(index);
  }
  return batch.get();
}

}  // namespace vorta::engine
