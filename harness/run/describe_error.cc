// SPDX-License-Identifier: Apache-2.0
#include <c10/util/Exception.h>

#include <new>

#include "engine/base/error.h"
#include "engine/pipeline/pipeline.h"
#include "harness/run/runner.h"

namespace vorta::harness {
namespace {

// LibTorch reports a failed allocation as a plain c10::Error; its words are the only sign.
bool speaks_of_memory(const std::string& message) {
  for (const char* words : {"can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory"}) {
    if (message.find(words) != std::string::npos) return true;
  }
  return false;
}

// After these CUDA errors every later call of the process fails.
bool leaves_no_context(const std::string& message) {
  for (const char* words :
       {"illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address",
        "illegal instruction", "hardware stack error", "uncorrectable ECC error"}) {
    if (message.find("CUDA error") != std::string::npos && message.find(words) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

reports::ErrorRow describe_error(const std::exception_ptr& error) {
  const auto row = [](const char* kind, std::string message) {
    return reports::ErrorRow{.kind = kind, .message = std::move(message), .stage = {}, .step = -1};
  };
  try {
    std::rethrow_exception(error);
  } catch (const engine::NotFiniteError& e) {
    return row("numerics", e.what());
  } catch (const ConfigError& e) {
    return row("config", e.what());
  } catch (const DataError& e) {
    return row("data", e.what());
  } catch (const MachineError& e) {
    return row("machine", e.what());
  } catch (const std::bad_alloc&) {
    return row("memory", "out of memory");
  } catch (const c10::Error& e) {
    const std::string message = e.what_without_backtrace();
    return row(leaves_no_context(message) ? "poisoned" : speaks_of_memory(message) ? "memory" : "internal", message);
  } catch (const std::exception& e) {
    return row("internal", e.what());
  } catch (...) {
    return row("internal", "an exception of unknown type");
  }
}

}  // namespace vorta::harness
