// SPDX-License-Identifier: Apache-2.0
#pragma once

// Loops over an array of vectors must be unrolled early, or GCC 12 copies the array through memory.
#define VORTA_UNROLL _Pragma("GCC unroll 8")
