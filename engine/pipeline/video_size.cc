// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/video_size.h"

#include <fmt/format.h>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

int64_t rounded_frames(int64_t frames, int64_t factor, FrameRounding rounding) {
  if (frames < 1) throw ConfigError("--frames", fmt::format("expected at least 1 frame, found {}", frames));
  if ((frames - 1) % factor == 0) return frames;
  const int64_t whole = rounding == FrameRounding::kWholeFactors ? frames : frames - 1;
  return whole / factor * factor + 1;
}

/// Pixels a token covers along height (axis 0) and width (axis 1): the VAE's factor times the patch.
int64_t pixels_per_token(const VideoDit& model, int64_t factor, int axis) {
  // Patch sizes are not part of VideoDit; the largest latent size that is one token tells them.
  constexpr int64_t kProbe = 5040;  // divisible by 1 to 10
  const VideoGrid tokens = model.token_grid({kProbe, kProbe, kProbe});
  return factor * (kProbe / (axis == 0 ? tokens.height : tokens.width));
}

void require_multiple(std::string_view flag, int64_t size, int64_t multiple) {
  if (size > 0 && size % multiple == 0) return;
  const int64_t below = std::max(size / multiple, int64_t{1}) * multiple;
  throw ConfigError(flag, fmt::format("expected a multiple of {}, found {}; nearest: {} and {}", multiple, size, below,
                                      below + multiple));
}

// Far beyond any model; below it no product of sizes overflows.
constexpr int64_t kMostPixels = 1 << 16;
constexpr int64_t kMostFrames = 1 << 20;

void require_at_most(std::string_view flag, int64_t size, int64_t most) {
  if (size > most) throw ConfigError(flag, fmt::format("expected at most {}, found {}", most, size));
}

}  // namespace

VideoSize resolve_video_size(const GenerationRequest& request, const VideoDit& model, const VideoVae& vae,
                             FrameRounding rounding) {
  require_at_most("--height", request.height, kMostPixels);
  require_at_most("--width", request.width, kMostPixels);
  require_at_most("--frames", request.frames, kMostFrames);
  require_multiple("--height", request.height, pixels_per_token(model, vae.spatial_factor(), 0));
  require_multiple("--width", request.width, pixels_per_token(model, vae.spatial_factor(), 1));
  VideoSize size;
  size.frames = rounded_frames(request.frames, vae.temporal_factor(), rounding);
  size.height = request.height;
  size.width = request.width;
  size.latents = {(size.frames - 1) / vae.temporal_factor() + 1, size.height / vae.spatial_factor(),
                  size.width / vae.spatial_factor()};
  size.tokens = model.token_grid(size.latents);
  return size;
}

}  // namespace vorta::engine
