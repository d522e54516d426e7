// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/shard.h"

#include <charconv>

#include "engine/base/error.h"

namespace vorta::harness {

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, shard.index);
  const bool slash = first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  const auto second = slash ? std::from_chars(first.ptr + 1, end, shard.count) : first;
  const bool whole = slash && second.ec == std::errc() && second.ptr == end;
  if (!whole || shard.index < 1 || shard.count < shard.index || shard.count > 100000) {
    throw ConfigError("--shard", "expected PART/PARTS, such as 2/4, found \"" + text + "\"");
  }
  return shard;
}

}  // namespace vorta::harness
