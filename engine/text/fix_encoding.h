// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vorta::engine {

/// ftfy's fix_encoding (6.3): undoes UTF-8 that was read in a single-byte encoding, in whole or in parts, as often as
/// it happened. Text without signs of that comes back unchanged.
std::u32string fix_encoding(std::u32string_view text);

/// C1 controls as what their bytes mean in Windows-1252; those without a meaning stay.
std::u32string fix_c1_controls(std::u32string_view text);

}  // namespace vorta::engine
