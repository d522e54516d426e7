// SPDX-License-Identifier: Apache-2.0
#include "engine/media/rgb_conversion.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
}

#include <cmath>
#include <cstring>

namespace vorta::engine {
namespace {

constexpr int kExactFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;

// Without exact rounding, swscale converts 4:2:0 of the same size on a path of its own: what players and decoders show.
ScalerPtr open_scaler(const AVFrame& first, int64_t height, int64_t width, int flags, AVPixelFormat target,
                      bool mpeg2_chroma) {
  ScalerPtr scaler(sws_alloc_context());
  if (!scaler) throw std::bad_alloc();
  SwsContext* context = scaler.get();
  av_opt_set_int(context, "srcw", first.width, 0);
  av_opt_set_int(context, "srch", first.height, 0);
  av_opt_set_int(context, "src_format", first.format, 0);
  av_opt_set_int(context, "dstw", width, 0);
  av_opt_set_int(context, "dsth", height, 0);
  av_opt_set_int(context, "dst_format", target, 0);
  av_opt_set_int(context, "sws_flags", flags, 0);
  constexpr int kCentredBetweenRows = 128;  // MPEG-2's vertical chroma position, in 256ths of a luma row
  if (mpeg2_chroma) av_opt_set_int(context, "src_v_chr_pos", kCentredBetweenRows, 0);
  if (sws_init_context(context, nullptr, nullptr) < 0) return nullptr;
  return scaler;
}

void set_matrix(SwsContext* scaler, int space, bool full_range) {
  const int* matrix = sws_getCoefficients(space);
  int *source = nullptr, *target = nullptr;
  int source_full = 0, target_full = 0, brightness = 0, contrast = 0, saturation = 0;
  // Fails for RGB sources, which have no matrix.
  if (sws_getColorspaceDetails(scaler, &source, &source_full, &target, &target_full, &brightness, &contrast,
                               &saturation) < 0)
    return;
  sws_setColorspaceDetails(scaler, matrix, full_range ? 1 : source_full, target, target_full, brightness, contrast,
                           saturation);
}

}  // namespace

AVPixelFormat packed_format(RgbConversion conversion) {
  return conversion == RgbConversion::kOpenCv ? AV_PIX_FMT_BGR24 : AV_PIX_FMT_RGB24;
}

bool depends_on_coded_size(const AVFrame& first, RgbConversion conversion) {
  constexpr int kBits = 8;  // up to here swscale has a path of its own, row by row
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(first.format));
  return conversion == RgbConversion::kOpenCv && format != nullptr && format->comp[0].depth > kBits;
}

ScalerPtr make_scaler(const AVFrame& first, int64_t height, int64_t width, RgbConversion conversion) {
  const bool full_range = first.color_range == AVCOL_RANGE_JPEG;
  const AVPixelFormat target = packed_format(conversion);
  if (conversion == RgbConversion::kAccurate) {
    ScalerPtr scaler = open_scaler(first, height, width, kExactFlags, target, false);
    const int* matrix = sws_getCoefficients(first.colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_ITU601);
    if (scaler) sws_setColorspaceDetails(scaler.get(), matrix, full_range ? 1 : 0, matrix, 1, 0, 1 << 16, 1 << 16);
    return scaler;
  }
  if (conversion == RgbConversion::kOpenCv) return open_scaler(first, height, width, SWS_BICUBIC, target, false);
  ScalerPtr scaler = open_scaler(first, height, width, SWS_BILINEAR, target, first.format == AV_PIX_FMT_YUV420P);
  // The filter knows the matrices 1 to 7 of ITU-T H.273; everything else is BT.601.
  const bool known = first.colorspace >= AVCOL_SPC_BT709 && first.colorspace <= AVCOL_SPC_SMPTE240M;
  if (scaler) set_matrix(scaler.get(), known ? first.colorspace : AVCOL_SPC_BT470BG, full_range);
  return scaler;
}

int quarter_turns(const AVStream& stream) {
  const uint8_t* matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
  if (matrix == nullptr) return 0;
  const double clockwise = -av_display_rotation_get(reinterpret_cast<const int32_t*>(matrix));
  if (std::isnan(clockwise)) return 0;
  const double turns = clockwise / 90.0;
  const double whole = std::round(turns);
  constexpr double kSlack = 0.02;
  if (std::abs(turns - whole) > kSlack) return 0;
  return ((static_cast<int>(whole) % 4) + 4) % 4;
}

void turn_upright(Frames& frames, int quarter_turns) {
  if (quarter_turns == 0) return;
  const int64_t height = frames.height, width = frames.width;
  const bool sideways = quarter_turns % 2 != 0;
  const int64_t new_width = sideways ? height : width;
  std::vector<uint8_t> turned(static_cast<std::size_t>(frames.frame_bytes()));
  for (int64_t index = 0; index < frames.count; ++index) {
    uint8_t* frame = frames.frame(index);
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const int64_t to_y = quarter_turns == 1 ? x : quarter_turns == 2 ? height - 1 - y : width - 1 - x;
        const int64_t to_x = quarter_turns == 1 ? height - 1 - y : quarter_turns == 2 ? width - 1 - x : y;
        std::memcpy(turned.data() + 3 * (to_y * new_width + to_x), frame + 3 * (y * width + x), 3);
      }
    }
    std::memcpy(frame, turned.data(), turned.size());
  }
  frames.height = sideways ? width : height;
  frames.width = new_width;
}

}  // namespace vorta::engine
