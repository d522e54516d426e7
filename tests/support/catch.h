// SPDX-License-Identifier: Apache-2.0
// The one way Catch2 enters: version 2 (Debian 12) and version 3 differ in the header's name only for what we use.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
