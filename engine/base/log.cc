// SPDX-License-Identifier: Apache-2.0
#include "engine/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "engine/base/registry.h"

namespace vorta {
namespace {

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made("vorta", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%H:%M:%S %l %v");
    made.flush_on(spdlog::level::debug);
    return made;
  }();
  return instance;
}

struct LevelName {
  std::string_view name;
  LogLevel level;
};
constexpr std::array<LevelName, 5> kLevels{{{"error", LogLevel::kError},
                                            {"warn", LogLevel::kWarn},
                                            {"warning", LogLevel::kWarn},
                                            {"info", LogLevel::kInfo},
                                            {"debug", LogLevel::kDebug}}};

}  // namespace

void set_log_level(LogLevel level) {
  constexpr std::array levels{spdlog::level::err, spdlog::level::warn, spdlog::level::info, spdlog::level::debug};
  logger().set_level(levels[static_cast<std::size_t>(level)]);
}

LogLevel parse_log_level(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return find_entry(std::span<const LevelName>(kLevels), "log level", lower).level;
}

void log_error(std::string_view message) { logger().error("{}", message); }
void log_warn(std::string_view message) { logger().warn("{}", message); }
void log_info(std::string_view message) { logger().info("{}", message); }
void log_debug(std::string_view message) { logger().debug("{}", message); }

}  // namespace vorta
