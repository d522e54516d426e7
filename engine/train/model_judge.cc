// SPDX-License-Identifier: Apache-2.0
#include "engine/train/model_judge.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/train/captions.h"
#include "engine/train/export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <map>

namespace vorta::engine {
namespace {

using nlohmann::json;

json to_json(const Verdict& verdict) {
  return {{"color", verdict.color},
          {"shape", verdict.shape},
          {"motion", verdict.motion},
          {"relation", verdict.relation},
          {"count", verdict.count}};
}

Verdict verdict_of(const json& line) {
  return {line.at("color"), line.at("shape"), line.at("motion"), line.at("relation"), line.at("count")};
}

json to_json(const std::vector<SeenObject>& seen) {
  json list = json::array();
  for (const SeenObject& object : seen) {
    list.push_back(fmt::format("{} {} {} x{}", to_string(object.color), to_string(object.shape),
                               to_string(object.motion), object.count));
  }
  return list;
}

// Lines of an earlier call, by number; an unfinished last line is not one.
std::map<int64_t, json> judged_before(const std::filesystem::path& file) {
  std::map<int64_t, json> lines;
  std::ifstream in(file);
  for (std::string text; std::getline(in, text);) {
    json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("number") || !line.contains("verdict")) continue;
    const auto number = line.at("number").get<int64_t>();
    lines[number] = std::move(line);
  }
  return lines;
}

class Judge {
 public:
  explicit Judge(const ModelJudging& judging) : judging_(judging), pipeline_(Pipeline::load(judging.pipeline)) {}

  json judge(int64_t number, const Scene& scene, const std::string& prompt) {
    const at::NoGradGuard no_grad;
    GenerationRequest request;
    request.prompt = prompt;
    request.frames = judging_.clip.frames;
    request.height = judging_.clip.height;
    request.width = judging_.clip.width;
    request.seed = static_cast<uint64_t>(number);
    const at::Tensor video = pipeline_.generate(request).video.transpose(0, 1).contiguous();  // [3, F, Y, X]
    const std::span<const float> pixels(video.data_ptr<float>(), static_cast<size_t>(video.numel()));
    const std::vector<SeenObject> seen = see_objects(pixels, judging_.clip);
    save_sample(judging_.output / "clips", fmt::format("{:03}", number), video.unsqueeze(0) * 2 - 1);
    return {{"number", number},
            {"prompt", prompt},
            {"seen", to_json(seen)},
            {"verdict", to_json(vorta::engine::judge(seen, scene))}};
  }

 private:
  const ModelJudging& judging_;
  Pipeline pipeline_;
};

}  // namespace

CheckerScore judge_model(const ModelJudging& judging) {
  std::filesystem::create_directories(judging.output / "clips");
  const auto file = judging.output / "verdicts.jsonl";
  const std::map<int64_t, json> before = judged_before(file);
  std::ofstream out(file, std::ios::app);
  if (!out) throw DataError(file.string(), "expected a file to write to");
  Judge judge(judging);
  std::vector<Verdict> verdicts;
  for (int64_t number = judging.first; number < judging.first + judging.prompts; ++number) {
    const Scene scene = random_scene(static_cast<uint64_t>(number), Split::kHeldOut);
    const std::string prompt = caption(scene, static_cast<uint64_t>(number));
    const auto found = before.find(number);
    if (found != before.end() && found->second.at("prompt") != prompt) {
      throw DataError(file.string(),
                      fmt::format("expected the prompt \"{}\" as number {}, found another", prompt, number));
    }
    const json line = found != before.end() ? found->second : judge.judge(number, scene, prompt);
    if (found == before.end()) out << line.dump() << std::endl;
    verdicts.push_back(verdict_of(line.at("verdict")));
    log_info(fmt::format("{}/{} \"{}\": {}{}", verdicts.size(), judging.prompts, prompt, line.at("seen").dump(),
                         verdicts.back().shape_and_color() ? "" : "  <- not as described"));
  }
  return score_of(verdicts);
}

}  // namespace vorta::engine
