// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/nearest.h"
#include "engine/media/ffmpeg_handles.h"
#include "engine/media/video_file.h"

namespace vorta::engine {
namespace {

constexpr int kMaxCrf = 51;
constexpr double kMaxFps = 1000;

// x264 prints to stderr about an unknown preset, so it is checked before.
constexpr std::array<std::string_view, 10> kPresets{"ultrafast", "superfast", "veryfast", "faster",   "fast",
                                                    "medium",    "slow",      "slower",   "veryslow", "placebo"};

int64_t even(int64_t size) { return size + size % 2; }

// One file being encoded, in memory: disk trouble then has one place, and a half-written file cannot exist.
class Mp4Encoder {
 public:
  Mp4Encoder(const std::filesystem::path& path, const Frames& frames, const Mp4Options& options, double fps)
      : path_(path.string()), frames_(frames) {
    open_codec(options, fps);
    open_container();
  }

  ~Mp4Encoder() {
    if (format_ && format_->pb != nullptr) {
      uint8_t* bytes = nullptr;
      avio_close_dyn_buf(format_->pb, &bytes);
      format_->pb = nullptr;
      av_free(bytes);
    }
  }
  Mp4Encoder(const Mp4Encoder&) = delete;
  Mp4Encoder& operator=(const Mp4Encoder&) = delete;

  std::string run() {
    const FramePtr picture = make_frame(AV_PIX_FMT_YUV420P, codec_->height, codec_->width);
    RgbToFrame to_yuv(frames_, *picture);
    for (int64_t index = 0; index < frames_.count; ++index) {
      check(av_frame_make_writable(picture.get()), "frame buffer");
      to_yuv.convert(frames_, index, *picture);
      picture->pts = index;
      check(avcodec_send_frame(codec_.get(), picture.get()), "encode a frame");
      drain();
    }
    check(avcodec_send_frame(codec_.get(), nullptr), "finish encoding");
    drain();
    check(av_write_trailer(format_.get()), "write the index");
    uint8_t* bytes = nullptr;
    const int size = avio_close_dyn_buf(format_->pb, &bytes);
    format_->pb = nullptr;
    std::string file(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    av_free(bytes);
    return file;
  }

 private:
  void check(int code, const char* what) const {
    if (code < 0) throw DataError(path_, fmt::format("H.264 encoder could not {}: {}", what, ffmpeg_message(code)));
  }

  void open_codec(const Mp4Options& options, double fps) {
    const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
    if (codec == nullptr) throw MachineError("FFmpeg", "has no libx264 encoder, so no MP4 can be written");
    codec_.reset(avcodec_alloc_context3(codec));
    if (!codec_) throw std::bad_alloc();
    codec_->width = static_cast<int>(even(frames_.width));
    codec_->height = static_cast<int>(even(frames_.height));
    codec_->pix_fmt = AV_PIX_FMT_YUV420P;
    codec_->framerate = av_d2q(fps, 100000);
    codec_->time_base = av_inv_q(codec_->framerate);
    codec_->color_range = AVCOL_RANGE_MPEG;
    codec_->colorspace = AVCOL_SPC_SMPTE170M;
    codec_->color_primaries = AVCOL_PRI_SMPTE170M;
    codec_->color_trc = AVCOL_TRC_SMPTE170M;
    codec_->thread_count = 1;  // the bytes must not depend on the machine
    codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    check(av_opt_set(codec_->priv_data, "preset", options.preset, 0), "accept the preset");
    check(av_opt_set_double(codec_->priv_data, "crf", options.crf, 0), "accept the crf");
    // x264's AVX-512 macroblock tree reads memory that nobody wrote (seen in build 164: every encoding differs), and
    // its other variants round differently; this selects the portable one of the functions that may differ.
    check(av_opt_set(codec_->priv_data, "x264-params", "cpu-independent=1", 0), "accept its parameters");
    check(avcodec_open2(codec_.get(), codec, nullptr), "start");
  }

  void open_container() {
    AVFormatContext* format = nullptr;
    check(avformat_alloc_output_context2(&format, nullptr, "mp4", nullptr), "open an MP4");
    format_.reset(format);
    format_->flags |= AVFMT_FLAG_BITEXACT;
    stream_ = avformat_new_stream(format_.get(), nullptr);
    if (stream_ == nullptr) throw std::bad_alloc();
    stream_->time_base = codec_->time_base;
    stream_->avg_frame_rate = codec_->framerate;
    check(avcodec_parameters_from_context(stream_->codecpar, codec_.get()), "describe the stream");
    check(avio_open_dyn_buf(&format_->pb), "allocate the file");
    // In memory there is no second pass over the file, which is how faststart moves the index; a fragment-free file
    // with the space for the index reserved up front ends up the same.
    check(av_opt_set_int(format_->priv_data, "moov_size", index_bytes(), 0), "reserve the index");
    check(avformat_write_header(format_.get(), nullptr), "write the header");
  }

  // Upper bound of the MP4 index: the boxes themselves and, for each frame, its size, offset, times and sync flag.
  int64_t index_bytes() const {
    constexpr int64_t kBoxes = 2048, kPerFrame = 40;
    return kBoxes + kPerFrame * frames_.count + codec_->extradata_size;
  }

  void drain() {
    PacketPtr packet(av_packet_alloc());
    if (!packet) throw std::bad_alloc();
    for (;;) {
      const int code = avcodec_receive_packet(codec_.get(), packet.get());
      if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
      check(code, "encode a frame");
      packet->duration = 1;
      av_packet_rescale_ts(packet.get(), codec_->time_base, stream_->time_base);
      packet->stream_index = stream_->index;
      check(av_interleaved_write_frame(format_.get(), packet.get()), "store a frame");
    }
  }

  std::string path_;
  const Frames& frames_;
  CodecPtr codec_;
  OutputPtr format_;
  AVStream* stream_ = nullptr;
};

}  // namespace

void write_mp4(const std::filesystem::path& path, const Frames& frames, const Mp4Options& options) {
  check_frames(frames, "write_mp4");
  const double fps = frames.fps > 0 ? frames.fps : options.fps;
  if (options.crf < 0 || options.crf > kMaxCrf) {
    throw ConfigError("crf", fmt::format("expected 0..{}, found {}", kMaxCrf, options.crf));
  }
  if (std::find(kPresets.begin(), kPresets.end(), options.preset) == kPresets.end()) {
    throw ConfigError("preset", unknown_name_message("preset", options.preset, {kPresets.begin(), kPresets.end()}));
  }
  if (!(fps > 0) || !(fps <= kMaxFps)) {
    throw ConfigError("fps", fmt::format("expected a number above 0 and at most {}, found {}", kMaxFps, fps));
  }
  if (frames.width % 2 != 0 || frames.height % 2 != 0) {
    log_warn(fmt::format("{}: H.264 needs even sizes; {}x{} is scaled to {}x{}", path.string(), frames.width,
                         frames.height, even(frames.width), even(frames.height)));
  }
  silence_ffmpeg();
  write_file_atomically(path, Mp4Encoder(path, frames, options, fps).run());
}

}  // namespace vorta::engine
