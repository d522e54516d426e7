// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/human_action.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "metrics/backbones/cv_resize.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

// ASCII only, as the class names are.
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

class HumanAction final : public Scorer {
 public:
  HumanAction(ActionLogits logits, std::vector<std::string> classes, WantedAction wanted)
      : logits_(std::move(logits)), classes_(std::move(classes)), wanted_(std::move(wanted)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const at::NoGradGuard no_grad;
    const at::Tensor logits = logits_(video);
    if (!logits.isfinite().all().item<bool>()) throw DataError(video.path, "the network's logits are not finite");
    const bool found = recognised(logits, classes_, wanted_(video));
    VideoScore score;
    score.value = found;
    score.sum = found ? 1.0 : 0.0;
    score.extra = {{"cor_num_per_video", static_cast<int64_t>(score.sum)}};
    return score;
  }

 private:
  ActionLogits logits_;
  std::vector<std::string> classes_;
  WantedAction wanted_;
};

}  // namespace

std::string action_of_file(std::string_view path) {
  constexpr std::string_view kPerson = "person is ";
  std::string name = lower(path.substr(path.rfind('/') + 1));
  name.resize(std::min(name.size(), name.find('-')));
  const std::size_t person = name.rfind(kPerson);
  if (person != std::string::npos) name.erase(0, person + kPerson.size());
  name.resize(std::min(name.size(), name.find('_')));
  return name;
}

bool recognised(const at::Tensor& logits, std::span<const std::string> classes, std::string_view action) {
  constexpr int64_t kBest = 5;
  constexpr double kLeast = 0.84995;  // the least that rounds to 0.85
  const auto [values, indices] = logits.sigmoid().topk(std::min(kBest, logits.size(0)));
  const at::Tensor probabilities = values.cpu().to(at::kDouble), order = indices.cpu();
  for (int64_t i = 0; i < order.size(0); ++i) {
    const auto index = static_cast<std::size_t>(order.const_data_ptr<int64_t>()[i]);
    if (probabilities.const_data_ptr<double>()[i] >= kLeast && classes[index] == action) return true;
  }
  return false;
}

at::Tensor umt_images(const at::Tensor& frames) {
  constexpr int64_t kShorter = 256, kCrop = 224;
  const int64_t height = frames.size(2), width = frames.size(3);
  const auto longer = [](int64_t longer_side, int64_t shorter_side) {
    return static_cast<int64_t>(static_cast<double>(kShorter * longer_side) / static_cast<double>(shorter_side));
  };
  const at::Tensor fitted = width < height ? cv_resize(frames, longer(height, width), kShorter)
                                           : cv_resize(frames, kShorter, longer(width, height));
  const at::Tensor middle = center_crop(fitted.to(at::kFloat) / 255.0, kCrop);
  return normalise(middle, kImageNetMean, kImageNetStd);
}

std::vector<std::string> read_classes(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw DataError(path, "cannot be read; it comes with the vbench package that set-up installs");
  std::map<int64_t, std::string> by_index;
  int64_t row = 0;
  for (std::string line; std::getline(file, line);) {
    ++row;
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    const std::size_t tab = line.find('\t');
    int64_t index = -1;
    const char* end = line.data() + line.size();
    const bool number = tab != std::string::npos && std::from_chars(line.data() + tab + 1, end, index).ptr == end;
    if (!number || !by_index.emplace(index, lower(line.substr(0, tab))).second) {
      throw DataError(path,
                      fmt::format("line {}: expected a name, a tab and an index of its own, found \"{}\"", row, line));
    }
  }
  std::vector<std::string> names;
  for (auto& [index, name] : by_index) {
    if (index != static_cast<int64_t>(names.size())) throw DataError(path, fmt::format("no class {}", names.size()));
    names.push_back(std::move(name));
  }
  return names;
}

std::unique_ptr<Scorer> action_scorer(ActionLogits logits, std::vector<std::string> classes, WantedAction wanted) {
  return std::make_unique<HumanAction>(std::move(logits), std::move(classes), std::move(wanted));
}

std::unique_ptr<Scorer> action_scorer(std::shared_ptr<const Umt> umt) {
  const int64_t known = UmtConfig{}.classes;
  std::vector<std::string> classes = read_classes(VORTA_KINETICS_400);
  if (static_cast<int64_t>(classes.size()) != known) {
    throw DataError(VORTA_KINETICS_400, fmt::format("expected {} classes, found {}", known, classes.size()));
  }
  return action_scorer(
      [umt = std::move(umt)](const VideoInput& video) { return umt->logits(umt_images(video.frames)); },
      std::move(classes), [](const VideoInput& video) { return action_of_file(video.path); });
}

std::unique_ptr<Scorer> make_human_action(const ScorerSetup& setup) {
  return action_scorer(load_network<Umt>(setup, "umt_l16"));
}

}  // namespace vorta::metrics
