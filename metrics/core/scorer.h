// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/media/video_file.h"
#include "metrics/core/metric.h"
#include "metrics/core/scorer_weights.h"

namespace vorta::metrics {

/// Whose networks and label sets a score comes from. Scores of two profiles are never compared or averaged.
enum class Profile { kVbench, kEmbedded };
std::string_view to_string(Profile profile);  // "vbench" or "embedded"
/// ConfigError naming `where` for another name.
Profile parse_profile(std::string_view name, std::string_view where);

/// The two groups of VBench's total.
enum class Group { kQuality, kSemantic };

/// What a dimension wants of a video file: whose pixels, which frames.
struct FrameInput {
  engine::RgbConversion conversion = engine::RgbConversion::kFilter;
  int64_t middle = 0;   // so many frames from the middle of equal intervals (middle_indices); 0: all frames
  int64_t height = 0;   // scaled by the decoder; 0: as they are
  int64_t width = 0;
};

/// One video and what is known of it.
struct VideoInput {
  std::string path;      // as the user named it: human_action takes its label from the file's name
  at::Tensor frames;     // [F, 3, Y, X] uint8 RGB on the CPU, chosen by the row's FrameInput
  double fps = 0;        // the container's average rate; 0 when it does not say
  std::string prompt;
  std::map<std::string, std::string> auxiliary;  // the leaves of auxiliary_info[dimension]: {"object": "a cat"}
};

/// A value of the result files; how it is printed follows from the alternative.
using ScoreValue = std::variant<bool, int64_t, double, std::vector<double>>;

/// The score of one video. The dimension's aggregate is sum of `sum` / sum of `count` / the row's divisor: a mean over
/// videos has {value, 1}, a mean over all frames has {sum of the frames, number of frames}.
struct VideoScore {
  ScoreValue value;              // "video_results"
  double sum = 0;
  double count = 1;
  std::vector<double> frames;    // detail: a number a frame or pair; empty where the dimension has none
  std::vector<std::pair<std::string, ScoreValue>> extra;  // further keys of VBench's item, in its order
};

/// A dimension's network, loaded. Not for use from several threads at once.
class Scorer {
 public:
  virtual ~Scorer() = default;
  /// Nothing when VBench leaves such a video out of its results (color: the object is in no frame).
  /// @throws ConfigError when the frames are too few or too small, or the prompt or auxiliary value does not fit.
  virtual std::optional<VideoScore> score(const VideoInput& video) = 0;
};

/// What a scorer may be told; each is read by the dimension it is named after.
struct ScorerOptions {
  std::string imaging_quality_preprocessing_mode = "longer";
  bool read_frame = false;  // the frames are images: resized by Pillow instead of torchvision
};

struct ScorerSetup {
  const ScorerWeights& weights;
  at::Device device;
  ScorerOptions options;
};

/// How a score enters the total: (score - min) / (max - min) * weight, not clipped.
struct Normalisation {
  double min = 0.0;
  double max = 1.0;
  double weight = 1.0;
};

/// One row of the table of dimensions.
struct Dimension {
  std::string_view name;  // VBench's: "subject_consistency"
  std::string_view description;
  std::string_view version;  // of the definition: the VBench release whose numbers it reproduces
  Group group = Group::kQuality;
  Direction direction = Direction::kHigher;
  Normalisation normalisation = {};
  double divisor = 1.0;  // of the aggregate: 100 for imaging_quality, whose videos are scored 0..100
  FrameInput frames = {};
  int64_t min_frames = 1;
  bool reads_frames = false;                          // obeys VBench's --read_frame
  bool needs_auxiliary = false;                       // refused in custom_input mode, as VBench does
  std::span<const std::string_view> weights = {};     // rows of weight_files(); empty: no network
  std::unique_ptr<Scorer> (*make)(const ScorerSetup&) = nullptr;  // nullptr: not built into this program
  Profile profile = Profile::kVbench;
};

/// VBench's filter in front of temporal_flickering: whether frames [F, 3, Y, X] uint8 of a file
/// (RgbConversion::kOpenCv) show a static scene, by the user's RAFT. @throws MachineError when its weights are missing.
std::function<bool(const at::Tensor&)> make_static_judge(const ScorerSetup& setup);

/// The sixteen dimensions in VBench's order, then rows of other profiles.
std::span<const Dimension> dimension_table();
/// ConfigError lists the known names, nearest first.
const Dimension& find_dimension(std::string_view name, Profile profile = Profile::kVbench);

/// VBench's "middle" sampling of `wanted` of `count` frames: interval i is [floor(i * count / a), floor((i + 1) * count
/// / a)
/// - 1] with a = min(wanted, count), its index the floor of the middle; the last index is repeated up to `wanted`.
std::vector<int64_t> middle_indices(int64_t wanted, int64_t count);
/// Of frames [F, ...] those that `input` asks for.
at::Tensor chosen_frames(const at::Tensor& frames, const FrameInput& input);

/// Decodes what `input` asks for: frames [F, 3, Y, X] uint8. Folders of images, .gif and .png are read as VBench reads
/// them.
/// @throws DataError naming the file.
VideoInput load_video(const std::string& path, const FrameInput& input);

}  // namespace vorta::metrics
