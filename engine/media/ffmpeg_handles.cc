// SPDX-License-Identifier: Apache-2.0
#include "engine/media/ffmpeg_handles.h"

#include <fmt/format.h>

#include <new>

#include "engine/base/error.h"

namespace vorta::engine {

void check_frames(const Frames& frames, const char* subject) {
  const bool good = frames.count > 0 && frames.height > 0 && frames.width > 0 &&
                    frames.rgb.size() == static_cast<std::size_t>(frames.count * frames.frame_bytes());
  if (good) return;
  throw InternalError(subject, fmt::format("expected count x height x width x 3 bytes, found {} x {} x {} and {} bytes",
                                           frames.count, frames.height, frames.width, frames.rgb.size()));
}

std::string ffmpeg_message(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

FramePtr make_frame(AVPixelFormat format, int64_t height, int64_t width) {
  FramePtr frame(av_frame_alloc());
  if (!frame) throw std::bad_alloc();
  frame->format = format;
  frame->height = static_cast<int>(height);
  frame->width = static_cast<int>(width);
  if (av_frame_get_buffer(frame.get(), 0) < 0) throw std::bad_alloc();
  return frame;
}

RgbToFrame::RgbToFrame(const Frames& source, const AVFrame& target)
    : scaler_(sws_getContext(static_cast<int>(source.width), static_cast<int>(source.height), AV_PIX_FMT_RGB24,
                             target.width, target.height, static_cast<AVPixelFormat>(target.format),
                             SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT, nullptr, nullptr,
                             nullptr)) {
  if (!scaler_) throw std::bad_alloc();
  const int* matrix = sws_getCoefficients(SWS_CS_ITU601);
  sws_setColorspaceDetails(scaler_.get(), matrix, /*srcRange=*/1, matrix, /*dstRange=*/0, 0, 1 << 16, 1 << 16);
}

void RgbToFrame::convert(const Frames& source, int64_t index, AVFrame& target) {
  const uint8_t* planes[] = {source.frame(index)};
  const int strides[] = {static_cast<int>(3 * source.width)};
  sws_scale(scaler_.get(), planes, strides, 0, static_cast<int>(source.height), target.data, target.linesize);
}

void silence_ffmpeg() { av_log_set_level(AV_LOG_QUIET); }

}  // namespace vorta::engine
