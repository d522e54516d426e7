// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"

#include <fmt/format.h>

namespace vorta {
namespace {

std::string located(std::string_view where, std::string_view message) { return fmt::format("[{}] {}", where, message); }

}  // namespace

ConfigError::ConfigError(std::string_view where, std::string_view message)
    : std::runtime_error(located(where, message)) {}

DataError::DataError(std::string_view where, std::string_view message) : std::runtime_error(located(where, message)) {}

MachineError::MachineError(std::string_view where, std::string_view message)
    : std::runtime_error(located(where, message)) {}

InternalError::InternalError(std::string_view where, std::string_view message)
    : std::logic_error(located(where, message)) {}

void fail_check(const char* file, int line, const char* condition, std::string_view message) {
  throw InternalError(fmt::format("{}:{}", file, line), fmt::format("{} (failed: {})", message, condition));
}

}  // namespace vorta
