// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vorta::harness {

/// "{index:03d}-{slug}": the published inference script's file name of a caption. The slug keeps Unicode letters,
/// digits, underscores and white space, turns runs of white space into "-", is lower case, and ends after 20 code
/// points. ConfigError when the caption is not UTF-8.
std::string output_stem(int64_t index, std::string_view caption);

}  // namespace vorta::harness
