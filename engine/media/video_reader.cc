// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

extern "C" {
#include <libavutil/imgutils.h>
}

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/error.h"
#include "engine/media/ffmpeg_handles.h"
#include "engine/media/rgb_conversion.h"
#include "engine/media/video_file.h"

namespace vorta::engine {
namespace {

FramePtr zero_frame(AVPixelFormat format, int64_t height, int64_t width) {
  FramePtr frame = make_frame(format, height, width);
  for (const AVBufferRef* plane : frame->buf) {
    if (plane != nullptr) std::memset(plane->data, 0, plane->size);
  }
  return frame;
}

// One row of packed pixels whose first and last byte change places.
void copy_reversed(const uint8_t* from, int64_t pixels, uint8_t* to) {
  for (int64_t x = 0; x < pixels; ++x, from += 3, to += 3) {
    to[0] = from[2];
    to[1] = from[1];
    to[2] = from[0];
  }
}

// Decodes one stream into RGB, refusing everything FFmpeg would conceal or skip.
class VideoReader {
 public:
  VideoReader(const std::filesystem::path& path, const ReadVideoOptions& options)
      : path_(path.string()), options_(options) {
    open_container();
    open_codec();
  }

  Frames run() {
    PacketPtr packet(av_packet_alloc());
    FramePtr decoded(av_frame_alloc());
    if (!packet || !decoded) throw std::bad_alloc();
    while (!full()) {
      const int code = av_read_frame(format_.get(), packet.get());
      if (code == AVERROR_EOF) break;
      check(code, "is damaged or cut off");
      const bool damaged = (packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
      if (packet->stream_index == stream_->index) {
        if (damaged) throw DataError(path_, fmt::format("is damaged or cut off after {} frames", out_.count));
        send(packet.get(), *decoded);
      }
      av_packet_unref(packet.get());
    }
    if (!full()) send(nullptr, *decoded);
    if (out_.count == 0) throw DataError(path_, "holds no video frames");
    check_complete();
    if (options_.conversion == RgbConversion::kFilter) turn_upright(out_, quarter_turns(*stream_));
    return std::move(out_);
  }

 private:
  void check(int code, const char* what) const {
    if (code < 0) throw DataError(path_, fmt::format("{} after {} frames: {}", what, out_.count, ffmpeg_message(code)));
  }
  bool full() const { return options_.max_frames > 0 && out_.count >= options_.max_frames; }

  void open_container() {
    AVFormatContext* format = nullptr;
    // "file:" keeps a colon in the name from being read as a protocol.
    const int code = avformat_open_input(&format, ("file:" + path_).c_str(), nullptr, nullptr);
    if (code < 0) {
      const bool missing = code == AVERROR(ENOENT) || code == AVERROR(EACCES) || code == AVERROR(EISDIR);
      throw DataError(path_, fmt::format("{}: {}", missing ? "cannot be opened" : "is not a video that FFmpeg can read",
                                         ffmpeg_message(code)));
    }
    format_.reset(format);
    check(avformat_find_stream_info(format, nullptr), "has no readable streams");
    const AVCodec* codec = nullptr;
    const int index = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (index < 0 || codec == nullptr) throw DataError(path_, "has no video stream that FFmpeg can decode");
    stream_ = format->streams[index];
    codec_.reset(avcodec_alloc_context3(codec));
    if (!codec_) throw std::bad_alloc();
  }

  void open_codec() {
    check(avcodec_parameters_to_context(codec_.get(), stream_->codecpar), "has an unreadable stream description");
    codec_->thread_count = 1;
    codec_->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
    codec_->pkt_timebase = stream_->time_base;
    check(avcodec_open2(codec_.get(), nullptr, nullptr), "cannot be decoded");
    const AVRational rate = av_guess_frame_rate(format_.get(), stream_, nullptr);
    out_.fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
  }

  void send(const AVPacket* packet, AVFrame& decoded) {
    check(avcodec_send_packet(codec_.get(), packet), "is damaged or cut off");
    while (!full()) {
      const int code = avcodec_receive_frame(codec_.get(), &decoded);
      if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
      check(code, "is damaged or cut off");
      if (decoded.decode_error_flags != 0 || (decoded.flags & AV_FRAME_FLAG_CORRUPT) != 0) {
        throw DataError(path_, fmt::format("is damaged or cut off after {} frames", out_.count));
      }
      append(decoded);
      av_frame_unref(&decoded);
    }
  }

  void append(const AVFrame& decoded) {
    if (out_.count == 0) start(decoded);
    if (decoded.height != first_.height || decoded.width != first_.width || decoded.format != first_.format) {
      throw DataError(path_, fmt::format("frame {} is {}x{}, the first was {}x{} (or the pixel format changes)",
                                         out_.count, decoded.width, decoded.height, first_.width, first_.height));
    }
    const auto needed = static_cast<std::size_t>((out_.count + 1) * out_.frame_bytes());
    if (needed > options_.max_bytes) {
      throw DataError(path_, fmt::format("needs more than {} bytes of memory for its frames", options_.max_bytes));
    }
    out_.rgb.resize(needed);
    if (coded_) {
      const uint8_t* planes[] = {decoded.data[0], decoded.data[1], decoded.data[2], decoded.data[3]};
      av_image_copy(coded_->data, coded_->linesize, planes, decoded.linesize,
                    static_cast<AVPixelFormat>(decoded.format), decoded.width, decoded.height);
    }
    const AVFrame& source = coded_ ? *coded_ : decoded;
    sws_scale(scaler_.get(), source.data, source.linesize, 0, decoded.height, packed_->data, packed_->linesize);
    const auto row_bytes = static_cast<std::size_t>(3 * out_.width);
    uint8_t* to = out_.frame(out_.count);
    for (int64_t y = 0; y < out_.height; ++y, to += row_bytes) {
      const uint8_t* from = packed_->data[0] + y * packed_->linesize[0];
      if (packed_->format == AV_PIX_FMT_BGR24) {
        copy_reversed(from, out_.width, to);
      } else {
        std::memcpy(to, from, row_bytes);
      }
    }
    ++out_.count;
  }

  void start(const AVFrame& first) {
    first_ = {first.format, first.height, first.width};
    out_.height = first.height;
    out_.width = first.width;
    if (options_.height > 0 && options_.width > 0) {
      const bool sideways = quarter_turns(*stream_) % 2 != 0;  // the size asked for is that of the upright picture
      out_.height = sideways ? options_.width : options_.height;
      out_.width = sideways ? options_.height : options_.width;
    }
    start_scaler(first);
    // Growing would copy all frames so far; what an index promises is not believed beyond this.
    constexpr int64_t kMostReserved = int64_t{1} << 28;
    const int64_t most = options_.max_frames > 0 ? options_.max_frames : kMostReserved / out_.frame_bytes();
    const int64_t frames =
        std::clamp<int64_t>(stream_->nb_frames, 0, std::min(most, kMostReserved / out_.frame_bytes()));
    out_.rgb.reserve(static_cast<std::size_t>(frames * out_.frame_bytes()));
  }

  // Of the coded size where OpenCV's pixels depend on it: it hands the visible rows to a scaler that expects all coded
  // ones, so the last rows of 4:2:0 stay as they were allocated. They are zero here.
  void start_scaler(const AVFrame& first) {
    const int64_t height = std::max(codec_->coded_height, first.height);
    const int64_t width = std::max(codec_->coded_width, first.width);
    const bool cropped = height > first.height || width > first.width;
    const bool same_size = out_.height == first.height && out_.width == first.width;
    const AVPixelFormat packed = packed_format(options_.conversion);
    if (cropped && same_size && depends_on_coded_size(first, options_.conversion)) {
      coded_ = zero_frame(static_cast<AVPixelFormat>(first.format), height, width);
      scaler_ = make_scaler(*coded_, height, width, options_.conversion);
      packed_ = zero_frame(packed, height, width);
    } else {
      scaler_ = make_scaler(first, out_.height, out_.width, options_.conversion);
      packed_ = make_frame(packed, out_.height, out_.width);
    }
    if (!scaler_) throw DataError(path_, "has a pixel format that cannot be converted to RGB");
  }

  // Containers with an index say how many frames there are; a file cut at its end is otherwise read as a shorter one.
  void check_complete() const {
    if (full() || stream_->nb_frames <= 0 || out_.count >= stream_->nb_frames) return;
    throw DataError(
        path_, fmt::format("is cut off: its index lists {} frames, {} could be read", stream_->nb_frames, out_.count));
  }

  std::string path_;
  ReadVideoOptions options_;
  InputPtr format_;
  AVStream* stream_ = nullptr;
  CodecPtr codec_;
  ScalerPtr scaler_;
  FramePtr coded_;  // the picture in a frame of the coded size, where the scaler wants that
  FramePtr packed_;  // swscale's fast paths write whole vectors, beyond a row's end: this one has room for them
  struct Shape {
    int format, height, width;
  } first_ = {};
  Frames out_;
};

}  // namespace

Frames read_video(const std::filesystem::path& path, const ReadVideoOptions& options) {
  silence_ffmpeg();
  return VideoReader(path, options).run();
}

}  // namespace vorta::engine
