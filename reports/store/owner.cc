// SPDX-License-Identifier: Apache-2.0
#include "reports/store/owner.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>

#include "engine/base/error.h"

namespace vorta::reports {
namespace {

std::string boot_id() {
  std::ifstream stream("/proc/sys/kernel/random/boot_id");
  std::string id;
  stream >> id;
  return id;
}

// Field 22 of /proc/PID/stat; the name in field 2 may hold spaces and parentheses. Empty when there is no such process
// or only what is left of it until its parent asks (states Z and X).
std::string start_time(const std::string& pid) {
  std::ifstream stream("/proc/" + pid + "/stat");
  std::string line;
  if (!std::getline(stream, line)) return {};
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  fields >> field;
  if (field == "Z" || field == "X") return {};
  for (int i = 4; i <= 22; ++i) fields >> field;
  return field;
}

}  // namespace

std::string this_process() {
  const std::string pid = std::to_string(::getpid());
  return fmt::format("{}/{}/{}", boot_id(), pid, start_time(pid));
}

bool is_alive(std::string_view owner) {
  const std::size_t first = owner.find('/'), second = owner.rfind('/');
  if (first == std::string_view::npos || first == second || owner.substr(0, first) != boot_id()) return false;
  const std::string start = start_time(std::string(owner.substr(first + 1, second - first - 1)));
  return !start.empty() && start == owner.substr(second + 1);
}

std::string unique_key() {
  std::array<unsigned char, 10> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    throw MachineError("getrandom", "the kernel gave no random bytes");
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string key = fmt::format("{:012x}", std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  for (const unsigned char byte : random) key += fmt::format("{:02x}", byte);
  return key;
}

}  // namespace vorta::reports
