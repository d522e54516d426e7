// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace vorta {

/// The user's input is wrong: a flag, a suite key, a prompt. `where` is a flag name or "file#/json/pointer".
class ConfigError : public std::runtime_error {
 public:
  ConfigError(std::string_view where, std::string_view message);
};

/// A file, model or database is not what it claims to be. `where` is its path (and key, when one is to blame).
class DataError : public std::runtime_error {
 public:
  DataError(std::string_view where, std::string_view message);
};

/// This machine lacks what was asked (a GPU, memory, disk space).
class MachineError : public std::runtime_error {
 public:
  MachineError(std::string_view where, std::string_view message);
};

/// A bug of this program; thrown by VORTA_CHECK.
class InternalError : public std::logic_error {
 public:
  InternalError(std::string_view where, std::string_view message);
};

[[noreturn]] void fail_check(const char* file, int line, const char* condition, std::string_view message);

}  // namespace vorta

/// Throws InternalError when `condition` is false. For conditions that only a bug can break.
#define VORTA_CHECK(condition, message)                                               \
  do {                                                                                \
    if (!(condition)) ::vorta::fail_check(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
