// SPDX-License-Identifier: Apache-2.0
#include "engine/train/clip_queue.h"

#include <algorithm>
#include <utility>

namespace vorta::engine {

ClipQueue::ClipQueue(Render render, int64_t ahead, int64_t end) : render_(std::move(render)), ahead_(ahead), end_(end) {}

void ClipQueue::start(int64_t index) {
  for (int64_t i = index; i < std::max(index + 1, std::min(index + ahead_, end_)); ++i) {
    if (!under_way_.contains(i)) under_way_[i] = std::async(std::launch::async, render_, i);
  }
}

at::Tensor ClipQueue::take(int64_t index) {
  start(index);
  const at::Tensor batch = under_way_.at(index).get();
  under_way_.erase(under_way_.begin(), under_way_.upper_bound(index));
  return batch;
}

}  // namespace vorta::engine
