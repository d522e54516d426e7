// SPDX-License-Identifier: Apache-2.0
#include "tests/reports/sample_run.h"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "engine/base/json_io.h"
#include "reports/store/run_store.h"

namespace vorta::tests {
namespace {

using namespace vorta::reports;  // the rows, by the dozen

constexpr int64_t kSteps = 8, kLayers = 6, kHeads = 4;

struct SampleVariant {
  const char* name;
  const char* description;
  double step_ms;
  double psnr;
  double flicker;
};
constexpr std::array<SampleVariant, 3> kVariants{{{"dense", "full attention", 100, 0, 0.962},
                                                  {"sliding", "every head on sliding tiles", 58, 24.5, 0.958},
                                                  {"vorta", "routed by head", 62, 29.1, 0.963}}};
constexpr std::array<const char*, 4> kPrompts{"a red ball rolls to the left", "a blue cube spins, drawn as a sketch",
                                              "<script>alert(\"prompt\")</script> & {{title}} | *bold*",
                                              "two green stars fall"};

void write_filmstrip(const std::filesystem::path& file) {
  // A PNG of four grey frames, 48x12.
  static constexpr unsigned char kPng[] = {
      137, 80,  78, 71,  13,  10,  26,  10,  0,   0,  0,   13, 73,  72, 68,  82,  0,   0,   0,   48,  0,   0,
      0,   12,  8,  0,   0,   0,   0,   1,   209, 97, 141, 0,  0,   0,  28,  73,  68,  65,  84,  120, 218, 99,
      136, 34,  17, 48,  12,  70,  13,  119, 128, 0,  193, 39, 200, 27, 148, 26,  134, 126, 60,  0,   0,   244,
      15,  235, 1,  131, 150, 208, 227, 0,   0,   0,  0,   73, 69,  78, 68,  174, 66,  96,  130,
  };
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(kPng), sizeof kPng);
}

RunRow sample_row() {
  RunRow run;
  run.suite = "sample";
  run.title = "TEST DATA ONLY: made-up numbers <b>& escapes</b>";
  run.suite_json = R"({"suite":"sample","steps":8})";
  run.model_json = R"({"name":"no model","layers":6,"heads":4})";
  run.reference_variant = "dense";
  run.tool_version = "0.0.0-test";
  run.notes = "Every number in this file was invented by a test.";
  run.claims = {
      {"vorta-step", "VORTA is at least 1.5x faster per step than dense", "speedup/step", "vorta", "dense", 1.5, {}},
      {"vorta-e2e", "VORTA is at least 3x faster end to end", "speedup/e2e", "vorta", "dense", 3.0, {}},
      {"predicted",
       "Measured speed-up is at least 85 % of predicted",
       "ratio/measured_to_predicted",
       "vorta",
       "",
       0.85,
       {}},
      {"flicker", "No loss of temporal flickering", "delta/quality/temporal_flickering", "vorta", "dense", -0.005, {}},
      {"absent", "A quantity that nobody measured", "quality/absent", "vorta", "", 0.5, {}}};
  run.published = {{"Speed-up of VORTA", "1.76x", "HunyuanVideo, H100", "VORTA paper"},
                   {"VORTA with caching and distillation", "14.41x", "HunyuanVideo, H100", "VORTA paper"},
                   {"VBench, original and VORTA", "82.26 and 82.59", "HunyuanVideo, H100", "VORTA paper"}};
  return run;
}

TrialResult sample_result(const SampleVariant& v, int64_t prompt) {
  TrialResult result;
  const auto ns = [prompt](double ms) {
    return static_cast<int64_t>(ms * 1e6 * (1 + 0.01 * std::sin(3.0 * static_cast<double>(prompt))));
  };
  int64_t denoise = 0;
  result.samples.push_back({"text", -1, 30'000'000, {}});
  for (int64_t step = 0; step < kSteps; ++step) {
    const double early = step < 2 ? 1.1 : 1.0;
    result.samples.push_back({"step", step, ns(v.step_ms * early) + 100'000 * step, {}});
    denoise += result.samples.back().host_ns;
  }
  result.samples.push_back({"denoise", -1, denoise, {}});
  result.samples.push_back({"vae", -1, 150'000'000, 4096});
  result.samples.push_back({"e2e", -1, denoise + 180'000'000, {}});
  result.memory = {{"host_rss", 700'000'000 + 1000 * prompt}};
  result.scores = {{"quality/temporal_flickering", v.flicker + 0.0004 * static_cast<double>(prompt), ""}};
  if (v.psnr > 0) result.scores.push_back({"fidelity/psnr", v.psnr + 0.2 * static_cast<double>(prompt), ""});
  result.artefacts = {{"filmstrip", "strip.png", "image/png", 85}};
  return result;
}

TrialResult sample_profile(const SampleVariant& v) {
  TrialResult result;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (const auto& [part, share] :
         {std::pair{"self_attention", v.step_ms - 40}, std::pair{"cross_attention", 8.0}, std::pair{"ffn", 25.0}}) {
      const auto ns = static_cast<int64_t>(share * 1e6 / kLayers);
      result.ranges.push_back({"layer", part, layer, kSteps, ns, ns, {}});
    }
  }
  result.ranges.push_back({"operator", "aten::addmm", -1, 96, 20'000'000, 21'000'000, 1.5e9});
  result.ranges.push_back({"operator",
                           "vorta::attention",
                           -1,
                           48,
                           static_cast<int64_t>((v.step_ms - 40) * 1e6),
                           static_cast<int64_t>((v.step_ms - 40) * 1e6),
                           {}});
  return result;
}

void write_routes(RunStore& store, RunId run, CaseId id) {
  std::vector<RouteRow> routes;
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const int64_t dense = step < 2 ? 2 : 0, coreset = (layer + step) % (kHeads - dense + 1);
      routes.push_back({step, layer, dense, coreset, kHeads - dense - coreset});
    }
  }
  store.set_routes(run, id, routes);
  store.set_predictions(run, id, {{"speedup/step", "x", 1.7, {}}, {"flops/total", "FLOP", 4.2e10, 4.3e10}});
}

}  // namespace

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "vorta-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path make_sample_run(const std::filesystem::path& folder) {
  write_filmstrip(folder / "strip.png");
  RunStore store = RunStore::open_or_create(folder / "run.sqlite");
  const RunId run = store.begin_run(sample_row(), {R"({"cpu":"imaginary","threads":2})", R"({"host":"nowhere"})"}).id;
  store.define_metrics(
      {{"quality/temporal_flickering", "temporal flickering", "0..1", Direction::kHigher, "quality", "1"},
       {"fidelity/psnr", "PSNR to dense", "dB", Direction::kHigher, "fidelity", "1"}});
  int64_t ordinal = 0;
  for (const SampleVariant& v : kVariants) {
    const CaseId id = store.ensure_case(
        run, {v.name, v.description, R"({"attention":{"name":")" + std::string(v.name) + R"("}})", ordinal++});
    for (int64_t p = 0; p < static_cast<int64_t>(kPrompts.size()); ++p) {
      const ItemId item = store.ensure_item({kPrompts[static_cast<std::size_t>(p)], "", "{}", 7});
      const TrialId trial = store.begin_trial({run, id, item, TrialRole::kTiming, 0});
      if (std::string_view(v.name) == "sliding" && p == 3) {
        store.fail_trial(trial, {"memory", "asked for 4096 bytes, \"none\" left <here>", "denoise", 3});
      } else {
        store.finish_trial(trial, sample_result(v, p));
      }
    }
    const ItemId first = store.ensure_item({kPrompts[0], "", "{}", 7});
    store.finish_trial(store.begin_trial({run, id, first, TrialRole::kProfile, 0}), sample_profile(v));
    if (std::string_view(v.name) == "vorta") write_routes(store, run, id);
  }
  store.end_run(run);
  return folder / "run.sqlite";
}

}  // namespace vorta::tests
