// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace vorta {

/// Log lines go to stderr only; stdout carries results.
enum class LogLevel { kError, kWarn, kInfo, kDebug };

void set_log_level(LogLevel level);
/// Accepts error, warn, warning, info and debug in any case; ConfigError otherwise.
LogLevel parse_log_level(std::string_view name);

void log_error(std::string_view message);
void log_warn(std::string_view message);
void log_info(std::string_view message);
void log_debug(std::string_view message);

}  // namespace vorta
