// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vorta::reports {

/// This process as "boot id/pid/start time": no later process of this or another machine has the same.
std::string this_process();
/// Whether `owner` is a process that still runs here. An empty name, another boot and another machine are not.
bool is_alive(std::string_view owner);
/// A key that no other call on any machine gives: milliseconds since 1970 and 80 random bits, hexadecimal, sortable by
/// time.
std::string unique_key();

}  // namespace vorta::reports
