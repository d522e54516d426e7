// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace vorta {

/// Parses strict JSON (no comments, no duplicate keys, nesting at most 64, at most `max_bytes`). DataError names the
/// file, line and column.
nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes = 64u << 20);
nlohmann::json parse_json(std::string_view text, std::string_view where);

/// Whole file as bytes. DataError when it cannot be read or is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes = 1u << 30);

/// @throws MachineError when `error_number` (an errno) says that the disk or a quota is full, DataError otherwise.
[[noreturn]] void fail_to_write(const std::filesystem::path& path, int error_number);

/// Writes to a temporary file beside `path`, flushes it to disk and renames it, so a crash or a full disk leaves the
/// old file whole. Throws as fail_to_write does.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Sorted keys, no spaces: the form that is hashed and compared.
std::string canonical_json(const nlohmann::json& value);

/// A strict reader of one JSON object: every key must be consumed, or `finish` throws ConfigError with the JSON pointer
/// of the unknown key and the nearest known one. Getters throw ConfigError with the pointer on a wrong type.
class ObjectReader {
 public:
  /// `where` is "file#/pointer/to/object". The object must outlive the reader.
  ObjectReader(const nlohmann::json& object, std::string_view where);

  bool has(std::string_view key);
  bool boolean(std::string_view key, bool fallback);
  int64_t integer(std::string_view key, int64_t fallback);
  double number(std::string_view key, double fallback);
  std::string string(std::string_view key, std::string_view fallback);
  /// Like the above, but the key must be there.
  int64_t integer(std::string_view key);
  double number(std::string_view key);
  std::string string(std::string_view key);
  /// Marks the key as known and returns its value, or nullptr when absent.
  const nlohmann::json* value(std::string_view key);
  std::string pointer(std::string_view key) const;
  [[noreturn]] void fail(std::string_view key, std::string_view message) const;
  void finish() const;

 private:
  const nlohmann::json& require(std::string_view key);

  const nlohmann::json* object_;
  std::string where_;
  std::vector<std::string> known_;
};

}  // namespace vorta
