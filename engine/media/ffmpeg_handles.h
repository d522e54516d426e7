// SPDX-License-Identifier: Apache-2.0
// Private to engine/media: owners of FFmpeg's objects, and its error texts.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

#include "engine/media/frames.h"

namespace vorta::engine {

template <auto kFree>
struct FreeBySlot {
  template <typename T>
  void operator()(T* object) const {
    kFree(&object);
  }
};

struct FreeOutput {
  void operator()(AVFormatContext* format) const { avformat_free_context(format); }
};

struct FreeScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};

using CodecPtr = std::unique_ptr<AVCodecContext, FreeBySlot<avcodec_free_context>>;
using FramePtr = std::unique_ptr<AVFrame, FreeBySlot<av_frame_free>>;
using PacketPtr = std::unique_ptr<AVPacket, FreeBySlot<av_packet_free>>;
using InputPtr = std::unique_ptr<AVFormatContext, FreeBySlot<avformat_close_input>>;
using OutputPtr = std::unique_ptr<AVFormatContext, FreeOutput>;
using ScalerPtr = std::unique_ptr<SwsContext, FreeScaler>;

/// FFmpeg's words for an error code ("No space left on device").
std::string ffmpeg_message(int code);

/// An AVFrame with its own buffer. Throws std::bad_alloc.
FramePtr make_frame(AVPixelFormat format, int64_t height, int64_t width);

/// Scales packed RGB into `target` (its size and pixel format), BT.601 limited range for YUV, exact rounding.
class RgbToFrame {
 public:
  RgbToFrame(const Frames& source, const AVFrame& target);
  void convert(const Frames& source, int64_t index, AVFrame& target);

 private:
  ScalerPtr scaler_;
};

/// FFmpeg prints to stderr on its own; only our messages should be seen. Idempotent.
void silence_ffmpeg();

}  // namespace vorta::engine
