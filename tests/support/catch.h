// SPDX-License-Identifier: Apache-2.0
// The one way Catch2 enters. Tests use the names of version 2 (Debian 12); version 3 has two of them elsewhere.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
namespace Catch {
using Matchers::ContainsSubstring;
}
// Version 3 calls a matcher of elements Contains, which no test uses.
#define Contains ContainsSubstring
#else
#include <catch2/catch.hpp>
#endif
