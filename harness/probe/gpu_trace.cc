// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_trace.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>

namespace vorta::harness {
namespace {

// 32-bit FNV-1a: the same in every process, unlike std::hash.
uint32_t name_hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

// Position of the argument list's "(": the last one outside template brackets and other parentheses.
size_t argument_list(std::string_view name) {
  if (name.empty() || name.back() != ')') return std::string_view::npos;
  int depth = 0;
  for (size_t i = name.size(); i-- > 0;) {
    if (name[i] == ')') ++depth;
    if (name[i] == '(' && --depth == 0) return i;
  }
  return std::string_view::npos;
}

}  // namespace

Place GpuTrace::place(const GpuRecord& record) const {
  const auto at = [this](int64_t scope) { return scope < 0 ? Place{} : scopes.at(static_cast<size_t>(scope)).place; };
  return record.capture_scope < 0 ? at(record.scope) : place_of_replay(at(record.scope), at(record.capture_scope));
}

std::string readable_kernel_name(const char* mangled, size_t most) {
  if (mangled == nullptr || *mangled == '\0') return "(unnamed kernel)";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                              &std::free);
  std::string name = status == 0 ? demangled.get() : mangled;
  name = name.substr(0, argument_list(name));
  if (name.starts_with("void ")) name.erase(0, 5);  // template instances carry their return type
  if (name.size() <= most) return name;
  const std::string tail = fmt::format("...{:08x}", name_hash(name));
  size_t keep = most - tail.size();
  while (keep > 0 && (static_cast<unsigned char>(name[keep]) & 0xc0) == 0x80) --keep;  // never inside a UTF-8 character
  return name.substr(0, keep) + tail;
}

}  // namespace vorta::harness
