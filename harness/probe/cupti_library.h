// SPDX-License-Identifier: Apache-2.0
// Private to harness/probe: CUPTI and the CUDA driver by dlopen, so that a program linked against neither still starts.
#pragma once

#include <cuda.h>
#include <cupti.h>
#include <cupti_profiler_host.h>
#include <cupti_range_profiler.h>
#include <cupti_target.h>

#include <optional>
#include <string>

namespace vorta::harness {

/// Every CUPTI and driver function that the probe calls, by its own name.
#define VORTA_CUPTI_FUNCTIONS(call)                                                                                  \
  call(cuptiGetVersion) call(cuptiGetResultString) call(cuptiSubscribe_v2) call(cuptiUnsubscribe) call(              \
      cuptiEnableCallback) call(cuptiGetCallbackName) call(cuptiGetGraphNodeId) call(cuptiActivityRegisterCallbacks) \
      call(cuptiActivityRegisterTimestampCallback) call(cuptiActivityEnable) call(cuptiActivityDisable)              \
          call(cuptiActivityEnableRuntimeApi) call(cuptiActivityEnableDriverApi) call(cuptiActivityFlushAll)         \
              call(cuptiActivityGetNextRecord) call(cuptiActivityGetNumDroppedRecords)                               \
                  call(cuptiActivityPushExternalCorrelationId) call(cuptiActivityPopExternalCorrelationId) call(     \
                      cuptiProfilerInitialize) call(cuptiDeviceGetChipName) call(cuptiProfilerHostGetSupportedChips) \
                      call(cuptiProfilerHostInitialize) call(cuptiProfilerHostDeinitialize)                          \
                          call(cuptiProfilerHostConfigAddMetrics) call(cuptiProfilerHostGetConfigImageSize)          \
                              call(cuptiProfilerHostGetConfigImage) call(cuptiProfilerHostGetNumOfPasses)            \
                                  call(cuptiProfilerHostEvaluateToGpuValues) call(cuptiRangeProfilerEnable)          \
                                      call(cuptiRangeProfilerDisable) call(cuptiRangeProfilerGetCounterDataSize)     \
                                          call(cuptiRangeProfilerCounterDataImageInitialize)                         \
                                              call(cuptiRangeProfilerSetConfig) call(cuptiRangeProfilerStart)        \
                                                  call(cuptiRangeProfilerStop) call(cuptiRangeProfilerPushRange)     \
                                                      call(cuptiRangeProfilerPopRange)                               \
                                                          call(cuptiRangeProfilerDecodeData)                         \
                                                              call(cuptiRangeProfilerGetCounterDataInfo)             \
                                                                  call(cuptiRangeProfilerCounterDataGetRangeInfo)

#define VORTA_DRIVER_FUNCTIONS(call)                                                                            \
  call(cuInit) call(cuDriverGetVersion) call(cuDeviceGetCount) call(cuDeviceGetPCIBusId) call(cuGetErrorString) \
      call(cuCtxGetCurrent) call(cuCtxGetDevice) call(cuCtxSynchronize)

#define VORTA_DECLARE(name) decltype(&::name) name = nullptr;
struct Cupti {
  VORTA_CUPTI_FUNCTIONS(VORTA_DECLARE)
  /// "CUPTI_ERROR_HARDWARE_BUSY"
  std::string words(CUptiResult code) const;
};
struct CudaDriver {
  VORTA_DRIVER_FUNCTIONS(VORTA_DECLARE)
  std::string words(CUresult code) const;
};
#undef VORTA_DECLARE

/// A library, or why it cannot be used. Loaded once a process and kept.
template <typename Library>
struct Loaded {
  std::optional<Library> library;
  std::string missing;
};

/// libcupti.so.13. Any other major version is refused: the records' layouts move with it.
const Loaded<Cupti>& load_cupti();
/// libcuda.so.1 with at least one GPU and a driver that speaks CUDA 13.
const Loaded<CudaDriver>& load_cuda_driver();

/// One line for a CUPTI error that this machine or its set-up causes.
std::string cupti_refusal(const Cupti& cupti, CUptiResult code);

}  // namespace vorta::harness
