// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/pipeline/pipeline.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// Peaks of a GPU's memory by stage, from the counters that LibTorch's allocator keeps anyway: a few microseconds a
/// stage, outside what the inner observer's clock sees. On a CPU it only passes on what it hears.
class StageMemory final : public engine::PipelineObserver {
 public:
  /// `device` as LibTorch writes it: "cpu", "cuda:0".
  StageMemory(const std::string& device, engine::PipelineObserver& inner);

  void stage_begin(engine::Stage stage) override;
  void stage_end(engine::Stage stage) override;
  void step_begin(int64_t index, int64_t count) override { inner_.step_begin(index, count); }
  void step_end(int64_t index, int64_t count) override { inner_.step_end(index, count); }

  /// "device/<stage>": most bytes that tensors held during the stage, weights included; "device": over all stages;
  /// "device_reserved": most that the allocator took from the driver. Empty on a CPU.
  std::vector<reports::MemoryPeakRow> peaks() const;

 private:
  engine::PipelineObserver& inner_;
  int64_t gpu_ = -1;  // index; -1: a CPU
  int64_t reserved_ = 0;
  std::map<std::string, int64_t> stages_;
};

}  // namespace vorta::harness
