// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/media/ffmpeg_handles.h"
#include "engine/media/image_file.h"

namespace vorta::engine {
namespace {

void check(int code, const char* what) {
  if (code < 0) throw InternalError("PNG", fmt::format("{} failed: {}", what, ffmpeg_message(code)));
}

CodecPtr open_png_encoder(const Frames& frames) {
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
  if (codec == nullptr) throw MachineError("FFmpeg", "has no PNG encoder");
  CodecPtr context(avcodec_alloc_context3(codec));
  if (!context) throw std::bad_alloc();
  context->width = static_cast<int>(frames.width);
  context->height = static_cast<int>(frames.height);
  context->pix_fmt = AV_PIX_FMT_RGB24;
  context->time_base = {1, 1};
  context->thread_count = 1;
  context->flags |= AV_CODEC_FLAG_BITEXACT;
  check(avcodec_open2(context.get(), codec, nullptr), "opening the encoder");
  return context;
}

}  // namespace

std::string encode_png(const Frames& frames, int64_t index) {
  check_frames(frames, "encode_png");
  VORTA_CHECK(index >= 0 && index < frames.count, fmt::format("frame {} of {}", index, frames.count));
  silence_ffmpeg();
  const CodecPtr codec = open_png_encoder(frames);
  const FramePtr picture = make_frame(AV_PIX_FMT_RGB24, frames.height, frames.width);
  const int64_t row_bytes = 3 * frames.width;
  for (int64_t row = 0; row < frames.height; ++row) {
    std::memcpy(picture->data[0] + row * picture->linesize[0], frames.frame(index) + row * row_bytes,
                static_cast<std::size_t>(row_bytes));
  }
  check(avcodec_send_frame(codec.get(), picture.get()), "encoding");
  const PacketPtr packet(av_packet_alloc());
  if (!packet) throw std::bad_alloc();
  check(avcodec_receive_packet(codec.get(), packet.get()), "encoding");
  return {reinterpret_cast<const char*>(packet->data), static_cast<std::size_t>(packet->size)};
}

void write_png(const std::filesystem::path& path, const Frames& frames, int64_t index) {
  write_file_atomically(path, encode_png(frames, index));
}

Frames filmstrip(const Frames& frames, int64_t columns) {
  check_frames(frames, "filmstrip");
  VORTA_CHECK(columns > 0, "a filmstrip needs at least one column");
  const int64_t shown = std::min(columns, frames.count);
  Frames strip{1, frames.height, frames.width * shown, {}, 0};
  strip.rgb.resize(static_cast<std::size_t>(strip.frame_bytes()));
  const int64_t row_bytes = 3 * frames.width;
  for (int64_t column = 0; column < shown; ++column) {
    // Evenly spaced with both ends included, rounded to the nearest frame.
    const int64_t gaps = shown - 1;
    const int64_t index = shown == 1 ? frames.count / 2 : (column * (frames.count - 1) * 2 + gaps) / (2 * gaps);
    for (int64_t row = 0; row < frames.height; ++row) {
      std::memcpy(strip.rgb.data() + (row * shown + column) * row_bytes, frames.frame(index) + row * row_bytes,
                  static_cast<std::size_t>(row_bytes));
    }
  }
  return strip;
}

void filmstrip_png(const std::filesystem::path& path, const Frames& frames, int64_t columns) {
  write_png(path, filmstrip(frames, columns));
}

}  // namespace vorta::engine
