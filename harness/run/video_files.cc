// SPDX-License-Identifier: Apache-2.0
#include "harness/run/video_files.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/sha256.h"
#include "engine/media/image_file.h"
#include "engine/media/video_file.h"
#include "engine/weights/safetensors.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFramesKey = "frames";

fs::path file_of(const char* folder, const VideoName& name, const char* extension) {
  std::string stem = fmt::format("p{:02}-s{}", name.prompt, name.seed);
  if (name.repeat > 0) stem += fmt::format("-r{}", name.repeat);
  return fs::path(folder) / name.variant / (stem + extension);
}

engine::Frames to_frames(const at::Tensor& frames, double fps) {
  const at::Tensor bytes = frames.permute({0, 2, 3, 1}).contiguous();
  engine::Frames out{.count = bytes.size(0), .height = bytes.size(1), .width = bytes.size(2), .rgb = {}, .fps = fps};
  out.rgb.assign(bytes.data_ptr<uint8_t>(), bytes.data_ptr<uint8_t>() + bytes.numel());
  return out;
}

void make_parent(const fs::path& file) {
  std::error_code code;
  fs::create_directories(file.parent_path(), code);
  if (code) throw DataError(file.parent_path().string(), "the folder cannot be made: " + code.message());
}

reports::ArtefactRow artefact(const fs::path& run_dir, const char* kind, const fs::path& relative, const char* mime) {
  return {kind, relative.generic_string(), mime, static_cast<int64_t>(fs::file_size(run_dir / relative)),
          sha256_hex(read_file(run_dir / relative))};
}

}  // namespace

fs::path frames_path(const VideoName& name) { return file_of("frames", name, ".safetensors"); }

std::vector<reports::ArtefactRow> write_video_files(const fs::path& run_dir, const VideoName& name,
                                                    const at::Tensor& frames, const VideoLook& look) {
  const engine::Frames pixels = to_frames(frames, look.fps);
  const fs::path video = file_of("videos", name, ".mp4");
  const fs::path strip = file_of("filmstrips", name, ".png");
  const fs::path lossless = frames_path(name);
  for (const fs::path& file : {video, strip, lossless}) make_parent(run_dir / file);
  engine::write_mp4(run_dir / video, pixels, {.fps = look.fps});
  engine::filmstrip_png(run_dir / strip, pixels, look.filmstrip_columns);
  engine::write_safetensors(run_dir / lossless, {{kFramesKey, frames.contiguous()}});
  return {artefact(run_dir, "video", video, "video/mp4"), artefact(run_dir, "filmstrip", strip, "image/png"),
          artefact(run_dir, "frames", lossless, "application/octet-stream")};
}

void link_vbench_video(const fs::path& run_dir, const VideoName& name, const std::string& stem) {
  const fs::path link = run_dir / "vbench" / name.variant / (stem + ".mp4");
  make_parent(link);
  std::error_code code;
  fs::remove(link, code);
  fs::create_symlink(fs::path("../..") / file_of("videos", name, ".mp4"), link, code);
  if (code) throw DataError(link.string(), "the link cannot be made: " + code.message());
}

reports::ArtefactRow write_trace_file(const fs::path& run_dir, const std::string& variant, const std::string& json) {
  const fs::path trace = fs::path("traces") / (variant + ".json");
  make_parent(run_dir / trace);
  write_file_atomically(run_dir / trace, json);
  return artefact(run_dir, "trace", trace, "application/json");
}

at::Tensor read_frames(const fs::path& run_dir, const VideoName& name) {
  const fs::path file = run_dir / frames_path(name);
  if (!fs::exists(file)) throw DataError(file.string(), "the frames of an earlier trial are gone");
  const engine::SafetensorsFile stored = engine::read_safetensors(file);
  const auto found = stored.tensors.find(kFramesKey);
  if (found == stored.tensors.end() || found->second.scalar_type() != at::kByte || found->second.dim() != 4) {
    throw DataError(file.string(), "expected uint8 frames [F, 3, Y, X] under the key \"frames\"");
  }
  return found->second;
}

void drop_frames(const fs::path& run_dir, const VideoName& name) {
  std::error_code ignored;  // a file that stays costs disk space only
  fs::remove(run_dir / frames_path(name), ignored);
}

}  // namespace vorta::harness
