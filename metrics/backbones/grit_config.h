// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace vorta::metrics {

/// Sizes of GRiT; the defaults are GRiT-B.
struct GritConfig {
  int64_t width = 768;  // of the ViT; a third of its blocks, every third one, sees the whole image
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t window = 14;
  int64_t trained_grid = 64;  // patches a side that the global blocks' relative positions were made for
  int64_t channels = 256;     // of the pyramid
  int64_t box_width = 1024;   // of the box heads
  int64_t text_width = 768;
  int64_t text_layers = 6;
  int64_t text_heads = 12;
  int64_t vocabulary = 30522;
  int64_t positions = 1024;
};

}  // namespace vorta::metrics
