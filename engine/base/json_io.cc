// SPDX-License-Identifier: Apache-2.0
#include "engine/base/json_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/nearest.h"

namespace vorta {
namespace {

constexpr int kMaxNesting = 64;

// Refuses what nlohmann accepts silently: duplicate keys (the last one would win) and bottomless nesting.
class StrictParse {
 public:
  explicit StrictParse(std::string_view where) : where_(where) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kMaxNesting) throw DataError(where_, fmt::format("JSON nested deeper than {}", kMaxNesting));
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw DataError(where_, fmt::format("duplicate key \"{}\"", parsed.get<std::string>()));
    }
    return true;
  }

 private:
  std::string where_;
  std::vector<std::set<std::string>> keys_;
};

// nlohmann quotes what it last read; a file that is not UTF-8 must not put its bytes on the terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const unsigned char c : text)
    out += c >= 0x20 && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  return out;
}

std::string system_error() { return std::strerror(errno); }

std::string escape_pointer(std::string_view key) {
  std::string out;
  for (char c : key) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string_view where) {
  StrictParse strict(where);
  try {
    return nlohmann::json::parse(text, std::ref(strict));
  } catch (const nlohmann::json::exception& error) {
    // nlohmann's message carries "parse error at line L, column C"; its numeric id does not help a reader.
    std::string message = error.what();
    if (const auto end = message.find("] "); end != std::string::npos) message = message.substr(end + 2);
    constexpr std::size_t kBeginning = 120,
                          kEnd = 120;  // the place, and what was expected there; between: what was read
    if (message.size() > 2 * (kBeginning + kEnd))
      message = fmt::format("{} [...] {}", message.substr(0, kBeginning), message.substr(message.size() - kEnd));
    throw DataError(where, printable(message));
  }
}

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) throw DataError(path.string(), "is a folder, a file was expected");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw DataError(path.string(), fmt::format("cannot be opened: {}", system_error()));
  std::string bytes;
  char buffer[1 << 16];
  while (stream.read(buffer, sizeof buffer) || stream.gcount() > 0) {
    bytes.append(buffer, static_cast<std::size_t>(stream.gcount()));
    if (bytes.size() > max_bytes) throw DataError(path.string(), fmt::format("is larger than {} bytes", max_bytes));
  }
  if (stream.bad()) throw DataError(path.string(), fmt::format("cannot be read: {}", system_error()));
  return bytes;
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string());
}

void fail_to_write(const std::filesystem::path& path, int error_number) {
  const std::string message = fmt::format("cannot be written: {}", std::strerror(error_number));
  if (error_number == ENOSPC || error_number == EDQUOT) throw MachineError(path.string(), message);
  throw DataError(path.string(), message);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  const std::string temporary = fmt::format("{}.{}.tmp", path.string(), getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) fail_to_write(path, errno);
  std::size_t done = 0;
  bool good = true;
  while (good && done < bytes.size()) {
    const ssize_t count = ::write(file, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    good = count > 0;
    if (good) done += static_cast<std::size_t>(count);
  }
  good = good && ::fsync(file) == 0;
  const int reason = good ? 0 : errno;
  ::close(file);
  if (!good || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error_number = good ? errno : reason;
    ::unlink(temporary.c_str());
    fail_to_write(path, error_number);
  }
}

std::string canonical_json(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ObjectReader::ObjectReader(const nlohmann::json& object, std::string_view where) : object_(&object), where_(where) {
  if (where_.find('#') == std::string::npos) where_ += "#";
  if (!object.is_object()) throw ConfigError(where_, fmt::format("expected an object, found {}", object.type_name()));
}

std::string ObjectReader::pointer(std::string_view key) const {
  return fmt::format("{}/{}", where_, escape_pointer(key));
}

void ObjectReader::fail(std::string_view key, std::string_view message) const {
  throw ConfigError(pointer(key), message);
}

const nlohmann::json* ObjectReader::value(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  const auto found = object_->find(std::string(key));
  return found == object_->end() ? nullptr : &*found;
}

bool ObjectReader::has(std::string_view key) { return value(key) != nullptr; }

const nlohmann::json& ObjectReader::require(std::string_view key) {
  const auto* found = value(key);
  if (found == nullptr) fail(key, "is required");
  return *found;
}

bool ObjectReader::boolean(std::string_view key, bool fallback) {
  const auto* found = value(key);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) fail(key, fmt::format("expected true or false, found {}", found->dump()));
  return found->get<bool>();
}

int64_t ObjectReader::integer(std::string_view key, int64_t fallback) { return has(key) ? integer(key) : fallback; }

int64_t ObjectReader::integer(std::string_view key) {
  const auto& found = require(key);
  if (!found.is_number_integer()) fail(key, fmt::format("expected an integer, found {}", found.dump()));
  if (found.is_number_unsigned() && found.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    fail(key, "integer out of range");
  }
  return found.get<int64_t>();
}

double ObjectReader::number(std::string_view key, double fallback) { return has(key) ? number(key) : fallback; }

double ObjectReader::number(std::string_view key) {
  const auto& found = require(key);
  if (!found.is_number()) fail(key, fmt::format("expected a number, found {}", found.dump()));
  return found.get<double>();
}

std::string ObjectReader::string(std::string_view key, std::string_view fallback) {
  return has(key) ? string(key) : std::string(fallback);
}

std::string ObjectReader::string(std::string_view key) {
  const auto& found = require(key);
  if (!found.is_string()) fail(key, fmt::format("expected a string, found {}", found.dump()));
  return found.get<std::string>();
}

void ObjectReader::finish() const {
  for (const auto& [key, unused] : object_->items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      fail(key, unknown_name_message("key", key, known_));
    }
  }
}

}  // namespace vorta
