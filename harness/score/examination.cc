// SPDX-License-Identifier: Apache-2.0
#include "harness/score/examination.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/nn/device.h"
#include "engine/train/captions.h"
#include "engine/train/corruption.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace {

using metrics::Dimension;

constexpr std::array kStrengths{0.5, 1.0};
constexpr engine::ClipSize kExaminedClip{45, 128, 256};
constexpr double kExaminedFps = 12;

// All embedded dimensions on one video after another, and their sums by spoiling.
class Examiner {
 public:
  explicit Examiner(const std::string& device) : weights_(metrics::ScorerWeights::from_environment()) {
    for (const Dimension& dimension : metrics::dimension_table()) {
      if (dimension.profile != metrics::Profile::kEmbedded) continue;
      rows_.push_back(&dimension);
      scorers_.push_back(dimension.make({weights_, engine::open_device(device), {}}));
    }
  }

  void score(const std::string& spoiling, const at::Tensor& frames, const std::string& prompt) {
    for (size_t i = 0; i < rows_.size(); ++i) {
      metrics::VideoInput video;
      video.frames = frames;
      video.fps = kExaminedFps;
      video.prompt = prompt;
      if (const int64_t middle = rows_[i]->frames.middle; middle > 0) {
        video.frames = frames.index_select(0, at::tensor(metrics::middle_indices(middle, frames.size(0))));
      }
      const auto found = scorers_[i]->score(video);
      if (!found) continue;
      auto& [sum, count] = sums_[spoiling][std::string(rows_[i]->name)];
      sum += found->sum / found->count / rows_[i]->divisor;
      ++count;
    }
  }

  ExaminationTable means() const {
    ExaminationTable table;
    for (const auto& [spoiling, sums] : sums_) {
      for (const auto& [name, sum] : sums) table[spoiling][name] = sum.first / static_cast<double>(sum.second);
    }
    return table;
  }

  std::string weights_hash() const { return weights_.identify("embedded_scorers").sha256; }

 private:
  metrics::ScorerWeights weights_;
  std::vector<const Dimension*> rows_;
  std::vector<std::unique_ptr<metrics::Scorer>> scorers_;
  std::map<std::string, std::map<std::string, std::pair<double, int64_t>>> sums_;
};

std::vector<const engine::Corruption*> chosen_corruptions(const std::vector<std::string>& names) {
  std::vector<const engine::Corruption*> chosen;
  for (const std::string& name : names) chosen.push_back(&engine::find_corruption(name));
  if (!names.empty()) return chosen;
  for (const engine::Corruption& corruption : engine::corruptions()) chosen.push_back(&corruption);
  return chosen;
}

}  // namespace

ExaminationTable examine_scorers(const ScorerExamination& examination) {
  const at::NoGradGuard no_grad;
  const std::vector<const engine::Corruption*> corruptions = chosen_corruptions(examination.corruptions);
  Examiner examiner(examination.device);
  for (int64_t clip = 0; clip < examination.clips; ++clip) {
    const auto number = static_cast<uint64_t>(clip);
    const engine::Scene scene = engine::random_scene(number, engine::Split::kHeldOut);
    const std::string prompt = engine::caption(scene, number);
    const engine::RenderedClip rendered = engine::rendered_clip(scene, kExaminedClip);
    examiner.score("clean", rendered.frames, prompt);
    for (const engine::Corruption* corruption : corruptions) {
      for (const double strength : kStrengths) {
        examiner.score(fmt::format("{} {}", corruption->name, strength), corruption->apply(rendered, strength, number), prompt);
      }
    }
    log_info(fmt::format("{}/{} \"{}\"", clip + 1, examination.clips, prompt));
  }
  ExaminationTable table = examiner.means();
  std::filesystem::create_directories(examination.output);
  const nlohmann::json json{{"clips", examination.clips}, {"split", "held out"}, {"weights", examiner.weights_hash()}, {"means", table}};
  write_file_atomically(examination.output / "examination.json", json.dump(1) + "\n");
  return table;
}

}  // namespace vorta::harness
