// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace vorta::harness {

/// One part of work that is divided among machines or processes: part `index` (from 1) of `count`.
struct Shard {
  int64_t index = 1;
  int64_t count = 1;
};
/// "2/4". ConfigError on anything else.
Shard parse_shard(const std::string& text);

}  // namespace vorta::harness
