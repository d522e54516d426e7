// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <string>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::harness {

/// Where the files of one timing trial lie under a run's folder. Names come from the variant and from indexes, never
/// from a prompt's text.
struct VideoName {
  std::string variant;
  size_t prompt = 0;
  uint64_t seed = 0;
  int64_t repeat = 0;
};

/// "frames/<variant>/p00-s0.safetensors", relative to the run's folder: the lossless frames that scores are computed
/// from.
std::filesystem::path frames_path(const VideoName& name);

struct VideoLook {
  double fps = 16;
  int64_t filmstrip_columns = 8;
};

/// "vbench/<variant>/<stem>.mp4" as a link to the MP4 of a sample (its folder moves with the run): a folder that
/// VBench's own scripts and `vorta-bench score` find their videos in. A link that is there is replaced. @throws
/// DataError.
void link_vbench_video(const std::filesystem::path& run_dir, const VideoName& name, const std::string& stem);

/// Writes MP4, filmstrip PNG and lossless frames of `frames` [F, 3, Y, X] uint8 under `run_dir` -> rows with paths
/// relative to it. @throws DataError naming the file that cannot be written.
std::vector<reports::ArtefactRow> write_video_files(const std::filesystem::path& run_dir, const VideoName& name,
                                                    const at::Tensor& frames, const VideoLook& look);

/// Writes "traces/<variant>.json", a trace for Perfetto. @throws DataError naming the file that cannot be written.
reports::ArtefactRow write_trace_file(const std::filesystem::path& run_dir, const std::string& variant,
                                      const std::string& json);

/// -> [F, 3, Y, X] uint8. @throws DataError when the file is missing or is not such frames.
at::Tensor read_frames(const std::filesystem::path& run_dir, const VideoName& name);
/// Frees the disk space once every score is in the database.
void drop_frames(const std::filesystem::path& run_dir, const VideoName& name);

}  // namespace vorta::harness
