// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace vorta {

/// Letters used for axes in the whole repository: B batch; T H W latent or token frames, height, width; C channels;
/// L video tokens (T*H*W); N heads; D head dim; M model dim; S text tokens; K coreset tokens; E experts (branches).
/// Frames of pixels are [F, 3, Y, X]. H is always height; heads are N.

/// A grid of video tokens in raster order: index = (t * height + y) * width + x.
struct VideoGrid {
  int64_t frames = 0;
  int64_t height = 0;
  int64_t width = 0;

  int64_t tokens() const { return frames * height * width; }
  bool operator==(const VideoGrid&) const = default;
};

std::string to_string(const VideoGrid& grid);  // "12x9x12"

/// Executable shape comments: `s.bind(q.sizes(), "q", "B N L D")` binds each letter on first sight, accepts integers as
/// fixed sizes, and throws InternalError naming both tensors when a letter meets another size.
class ShapeBinder {
 public:
  explicit ShapeBinder(std::string_view subject) : subject_(subject) {}
  void bind(std::span<const int64_t> sizes, std::string_view name, std::string_view letters);
  int64_t operator[](char letter) const;

 private:
  std::string subject_;
  std::map<char, std::pair<int64_t, std::string>> bound_;
};

}  // namespace vorta
