// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/device_memory.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Device.h>

#include <algorithm>

namespace vorta::harness {
namespace {

constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

c10::DeviceAllocator& allocator() { return *c10::getDeviceAllocator(c10::kCUDA); }

}  // namespace

StageMemory::StageMemory(const std::string& device, engine::PipelineObserver& inner) : inner_(inner) {
  const c10::Device where(device);
  if (where.is_cuda() && at::hasCUDA()) gpu_ = std::max<int64_t>(where.index(), 0);
}

void StageMemory::stage_begin(engine::Stage stage) {
  if (gpu_ >= 0) allocator().resetPeakStats(static_cast<c10::DeviceIndex>(gpu_));
  inner_.stage_begin(stage);
}

void StageMemory::stage_end(engine::Stage stage) {
  inner_.stage_end(stage);
  if (gpu_ < 0) return;
  const auto stats = allocator().getDeviceStats(static_cast<c10::DeviceIndex>(gpu_));
  int64_t& peak = stages_[std::string(engine::to_string(stage))];
  peak = std::max(peak, stats.allocated_bytes[kAll].peak);
  reserved_ = std::max(reserved_, stats.reserved_bytes[kAll].peak);
}

std::vector<reports::MemoryPeakRow> StageMemory::peaks() const {
  std::vector<reports::MemoryPeakRow> rows;
  int64_t highest = 0;
  for (const auto& [stage, bytes] : stages_) {
    rows.push_back({"device/" + stage, bytes});
    highest = std::max(highest, bytes);
  }
  if (rows.empty()) return rows;
  rows.push_back({"device", highest});
  rows.push_back({"device_reserved", reserved_});
  return rows;
}

}  // namespace vorta::harness
