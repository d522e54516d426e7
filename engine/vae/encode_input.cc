// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/encode_input.h"

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/shapes.h"

namespace vorta::engine {

void check_encode_input(const VideoVae& vae, const at::Tensor& video) {
  ShapeBinder shapes("VAE encode");
  shapes.bind(video.sizes(), "video", "B 3 F Y X");
  const int64_t time = vae.temporal_factor(), space = vae.spatial_factor();
  if (shapes['F'] < 1 || (shapes['F'] - 1) % time != 0) {
    throw ConfigError("VAE encode",
                      fmt::format("the number of frames must be 1 + a multiple of {}, found {}", time, shapes['F']));
  }
  if (shapes['Y'] % space != 0 || shapes['X'] % space != 0) {
    throw ConfigError("VAE encode", fmt::format("height and width must be multiples of {}, found {} x {}", space,
                                                shapes['Y'], shapes['X']));
  }
}

}  // namespace vorta::engine
