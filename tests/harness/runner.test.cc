// SPDX-License-Identifier: Apache-2.0
// The runner against an engine that paints frames by formula and fails on demand: what is stored, resumed and repeated.
#include "harness/run/runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <limits>
#include <new>

#include "engine/base/error.h"
#include "harness/stats/paired.h"
#include "reports/query/report.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
namespace fs = std::filesystem;
using reports::TrialRole;
using reports::TrialStatus;

namespace {

class FakeEngine : public VideoEngine {
 public:
  std::function<void(const VideoOrder&)> before_generate = [](const VideoOrder&) {};
  std::vector<std::string> generated;  // "variant/prompt/seed" in order

  void prepare(const VideoOrder& order) override {
    if (order.variant->name == "broken") throw DataError("broken.safetensors", "is truncated");
  }
  engine::PlanSummary plan(const VideoOrder&) override {
    engine::PlanSummary plan;
    plan.size = {.frames = 3, .height = 16, .width = 16, .latents = {1, 2, 2}, .tokens = {1, 2, 2}};
    plan.dense_pass = {.patch = 1, .self_linear = 2, .cross_attention = 1, .self_attention = 4};
    plan.step_flops = {8, 8};
    plan.attention_flops = 8;
    plan.dense_step_flops = 8;
    plan.dense_step_attention = 4;
    return plan;
  }
  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
    generated.push_back(order.variant->name + "/" + order.prompt->id + "/" + std::to_string(order.seed));
    if (observer != nullptr) observer->stage_begin(engine::Stage::kDenoise);
    if (observer != nullptr) observer->step_begin(0, 1);
    before_generate(order);
    if (observer != nullptr) observer->step_end(0, 1);
    if (observer != nullptr) observer->stage_end(engine::Stage::kDenoise);
    const double shade = 0.2 + 0.1 * static_cast<double>(order.seed) + (order.variant->name == "dense" ? 0.0 : 0.05);
    return at::full({3, 3, 16, 16}, shade) + at::linspace(0, 0.1, 16);
  }
  std::string model_json(const SuiteSpec&) override { return R"({"name":"fake"})"; }
};

// A model of random weights whose first two of eight steps are timed: latents, and no frames.
class LatentEngine final : public FakeEngine {
 public:
  engine::PlanSummary plan(const VideoOrder& order) override {
    engine::PlanSummary plan = FakeEngine::plan(order);
    plan.schedule_steps = 8;
    plan.schedule_flops = 4 * plan.denoise_flops();
    return plan;
  }
  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
    FakeEngine::generate(order, observer);
    return at::full({1, 4, 2, 2, 2},
                    order.variant->name == "broken-latents" ? std::numeric_limits<double>::infinity() : 0.5);
  }
  std::string attention_kernels() override { return "a kernel/of its own"; }
};

// Notes what it is warmed up with, and how often it was by then asked for a whole video.
class WarmedEngine final : public FakeEngine {
 public:
  std::vector<std::string> warmed;
  void warm_up(const VideoOrder& order, int64_t steps, engine::PipelineObserver*) override {
    warmed.push_back(order.variant->name + "/" + std::to_string(steps) + "/" + std::to_string(generated.size()));
  }
};

class FakeGpuEngine final : public FakeEngine {
 public:
  std::string device(const VideoOrder&) override { return "cuda:0"; }
};

SuiteSpec suite() {
  SuiteSpec spec;
  spec.name = "fake";
  spec.title = "Fake";
  spec.reference = "dense";
  spec.prompts = {{.id = "a", .text = "one"}, {.id = "b", .text = "two"}};
  spec.seeds = {0, 1};
  spec.variants = {{.name = "dense", .attention = {.name = "dense"}},
                   {.name = "vorta", .attention = {.name = "vorta"}}};
  spec.metrics = {"psnr", "ssim", "temporal_flickering"};
  spec.measurement = {.warmup = 0, .trials = 1, .profile = true, .filmstrip_columns = 2};
  spec.resolved_json = R"({"name":"fake"})";
  return spec;
}

struct Folder {
  fs::path path = fs::temp_directory_path() / "vorta-runner-test";
  Folder() { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
};

RunSummary run(const SuiteSpec& spec, const Folder& folder, VideoEngine& engine, bool retry = false) {
  return run_suite(
      spec, {.out_dir = folder.path, .only = {}, .retry_failed = retry, .arguments = {}, .environment = {}}, engine);
}

}  // namespace

TEST_CASE("a short warm-up comes once before a variant's first trial and is no sample", "[harness][runner]") {
  Folder folder;
  WarmedEngine engine;
  SuiteSpec spec = suite();
  spec.measurement.warmup = 1;
  spec.measurement.warmup_steps = 2;
  spec.measurement.profile = false;
  const RunSummary summary = run(spec, folder, engine);
  CHECK(summary.ok == 8);
  CHECK(engine.generated.size() == 8);
  std::vector<std::string> warmed = engine.warmed;
  std::sort(warmed.begin(), warmed.end());
  CHECK(warmed == std::vector<std::string>{engine.generated.front().starts_with("dense") ? "dense/2/0" : "dense/2/1",
                                           engine.generated.front().starts_with("dense") ? "vorta/2/1" : "vorta/2/0"});
}

TEST_CASE("a run generates each case once, profiles each variant once and scores all frames", "[harness][runner]") {
  Folder folder;
  FakeEngine engine;
  const RunSummary summary = run(suite(), folder, engine);
  CHECK(engine.generated.size() == 8 + 2);
  CHECK(summary.ok == 10);
  CHECK(summary.failed == 0);
  CHECK(summary.missing_scores == 0);
  CHECK(summary.complete());
  CHECK(fs::exists(folder.path / "videos/vorta/p01-s1.mp4"));
  CHECK(fs::exists(folder.path / "filmstrips/dense/p00-s0.png"));
  CHECK(fs::exists(folder.path / "frames/dense/p00-s0.safetensors"));
  CHECK_FALSE(fs::exists(folder.path / "frames/vorta/p00-s0.safetensors"));
}

TEST_CASE(
    "rounds end when the interval is narrow, when the time is up or when they are used up, and the run says which",
    "[harness][runner]") {
  const auto ended = [](const Measurement& measurement) {
    Folder folder;
    FakeEngine engine;
    engine.before_generate = [](const VideoOrder& order) {  // steps of a length that hardly varies
      const auto until =
          std::chrono::steady_clock::now() + std::chrono::milliseconds(order.variant->name == "dense" ? 8 : 4);
      while (std::chrono::steady_clock::now() < until) {
      }
    };
    SuiteSpec spec = suite();
    spec.prompts.pop_back();
    spec.seeds = {0};
    spec.measurement = measurement;
    spec.measurement.warmup = 0;
    spec.measurement.profile = false;
    const RunSummary summary = run(spec, folder, engine);
    CHECK(summary.complete());
    return std::make_pair(summary.ok / 2, reports::read_report(folder.path).stop_reason);
  };
  const auto [few, narrow] = ended({.trials = 200, .least_trials = 4, .half_width = 0.2});
  CHECK(few >= 4);
  CHECK(few < 200);
  CHECK(narrow == to_string(StopReason::kPrecision));
  CHECK(ended({.trials = 200, .most_minutes = 1e-6}) ==
        std::make_pair(int64_t{1}, std::string(to_string(StopReason::kTime))));
  CHECK(ended({.trials = 2, .least_trials = 6, .half_width = 1e-9}) ==
        std::make_pair(int64_t{2}, std::string(to_string(StopReason::kRounds))));
  CHECK(ended({.trials = 3}).second == to_string(StopReason::kRounds));
}

TEST_CASE("what the harness does inside a timed trial is below half a per cent of its shortest steps",
          "[harness][runner]") {
  // The shortest step of the suites: the embedded model's on a CPU with AMX takes 80 ms, on a GPU 2 ms.
  constexpr double kShortestStepSeconds = 2e-3, kAllowed = 0.005;
  constexpr int64_t kSteps = 5000;
  struct StepEngine final : FakeEngine {
    double seconds_a_step = 0;
    at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
      const auto begin = std::chrono::steady_clock::now();
      for (int64_t step = 0; step < kSteps; ++step) {
        observer->step_begin(step, kSteps);
        observer->step_end(step, kSteps);
      }
      const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kSteps;
      seconds_a_step = seconds_a_step == 0 ? took : std::min(seconds_a_step, took);
      return FakeEngine::generate(order, nullptr);
    }
  } engine;
  Folder folder;
  SuiteSpec spec = suite();
  spec.measurement.profile = false;
  const int sink = ::open("/dev/null", O_WRONLY);  // heartbeats as of a worker
  run_suite(spec, {.out_dir = folder.path, .only = {}, .arguments = {}, .environment = {}, .progress_fd = sink},
            engine);
  ::close(sink);
  WARN("observing a step costs " << 1e6 * engine.seconds_a_step << " us, "
                                 << 100 * engine.seconds_a_step / kShortestStepSeconds << " % of 2 ms");
  CHECK(engine.seconds_a_step < kAllowed * kShortestStepSeconds);
}

TEST_CASE("a second call in the same folder repeats nothing", "[harness][runner]") {
  Folder folder;
  FakeEngine first, second;
  run(suite(), folder, first);
  const RunSummary summary = run(suite(), folder, second);
  CHECK(second.generated.empty());
  CHECK(summary.ok == 10);
  CHECK(summary.reused == 10);
}

TEST_CASE("a run that dies inside a generation goes on where it stopped", "[harness][runner]") {
  Folder folder;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    at::set_num_threads(1);  // a forked child has lost the threads of the parent's OpenMP pool
    FakeEngine dying;
    int generations = 0;
    dying.before_generate = [&](const VideoOrder&) {
      if (++generations == 4) ::_exit(9);  // as kill -9: no unwinding, the row stays "running"
    };
    run(suite(), folder, dying);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 9);
  FakeEngine resumed;
  const RunSummary summary = run(suite(), folder, resumed);
  CHECK(resumed.generated.size() == 10 - 3);
  CHECK(summary.reused == 3);
  CHECK(summary.complete());
}

TEST_CASE("failed trials are done again only when asked", "[harness][runner]") {
  Folder folder;
  FakeEngine failing, again, retried;
  failing.before_generate = [](const VideoOrder& order) {
    if (order.variant->name == "vorta" && order.seed == 1) throw std::bad_alloc();
  };
  CHECK(run(suite(), folder, failing).failed == 2);
  CHECK(run(suite(), folder, again).failed == 2);
  CHECK(again.generated.empty());
  CHECK(run(suite(), folder, retried, /*retry=*/true).complete());
  CHECK(retried.generated == std::vector<std::string>{"vorta/a/1", "vorta/b/1"});
}

TEST_CASE("a failing variant becomes failed rows and the rest goes on", "[harness][runner]") {
  Folder folder;
  FakeEngine engine;
  SuiteSpec spec = suite();
  spec.variants.push_back({.name = "broken", .attention = {.name = "vorta"}});
  const RunSummary summary = run(spec, folder, engine);
  CHECK(summary.ok == 10);
  CHECK(summary.failed == 5);  // four items and the profile
  CHECK_FALSE(summary.complete());
}

TEST_CASE("frames with NaN, of a wrong size or that do not repeat fail their case", "[harness][runner]") {
  Folder folder;
  SuiteSpec spec = suite();
  spec.measurement.trials = 2;
  struct Drifting final : VideoEngine {
    int calls = 0;
    FakeEngine fake;
    void prepare(const VideoOrder& order) override { fake.prepare(order); }
    engine::PlanSummary plan(const VideoOrder& order) override { return fake.plan(order); }
    at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) override {
      const at::Tensor video = fake.generate(order, observer);
      if (order.variant->name == "dense") return video;
      if (order.prompt->id == "b") return video.slice(0, 0, 2);  // too few frames
      if (order.seed == 1) return video + std::numeric_limits<double>::quiet_NaN();
      return video + 0.05 * ++calls;  // drifts
    }
    std::string model_json(const SuiteSpec& s) override { return fake.model_json(s); }
  } engine;
  spec.measurement.profile = false;
  const RunSummary summary = run(spec, folder, engine);
  CHECK(summary.ok == 8 + 1);  // dense twice on four items, and the first of the drifting pair
  CHECK(summary.failed == 7);
}

TEST_CASE("errors are told apart by kind", "[harness][runner]") {
  const auto kind = [](auto thrown) { return describe_error(std::make_exception_ptr(thrown)).kind; };
  CHECK(kind(ConfigError("a", "b")) == "config");
  CHECK(kind(DataError("a", "b")) == "data");
  CHECK(kind(MachineError("a", "b")) == "machine");
  CHECK(kind(engine::NotFiniteError("a", "b")) == "numerics");
  CHECK(kind(std::bad_alloc()) == "memory");
  CHECK(kind(InternalError("a", "b")) == "internal");
  CHECK(kind(7) == "internal");
}

TEST_CASE("another suite's folder is refused", "[harness][runner]") {
  Folder folder;
  FakeEngine engine;
  run(suite(), folder, engine);
  SuiteSpec other = suite();
  other.resolved_json = R"({"name":"other"})";
  CHECK_THROWS_AS(run(other, folder, engine), ConfigError);
}

TEST_CASE("a GPU that cannot be watched ends no trial, and the profile says why it is empty", "[harness][runner]") {
  Folder folder;
  FakeGpuEngine gpu;
  CHECK(run(suite(), folder, gpu).complete());
  const reports::Report watched = reports::read_report(folder.path);
  for (const auto& variant : watched.variants) {
    REQUIRE(variant.gpu.has_value());
    CHECK(variant.gpu->kernel_count == 0);  // the fake engine runs nothing on a GPU, should there be one
    CHECK((!variant.gpu->note.empty() || !variant.power.empty()));
    CHECK(variant.gpu->overhead.has_value());
  }
  Folder other;
  FakeEngine cpu;
  run(suite(), other, cpu);
  for (const auto& variant : reports::read_report(other.path).variants) {
    CHECK_FALSE(variant.gpu.has_value());
    CHECK(variant.power.empty());
  }
}

TEST_CASE("timed steps of random weights leave extrapolated times and no scores, and say so everywhere",
          "[harness][runner]") {
  Folder folder;
  LatentEngine engine;
  SuiteSpec spec = suite();
  spec.weights = "random";
  spec.output = "latents";
  spec.metrics.clear();
  spec.variants[1].config.offload = "layers";
  spec.variants.push_back({.name = "broken-latents", .attention = {.name = "vorta"}});
  engine.before_generate = [](const VideoOrder&) { ::usleep(2000); };
  const RunSummary summary = run(spec, folder, engine);
  CHECK(summary.failed == 4);  // infinite latents; their profile is not looked at
  CHECK(summary.missing_scores == 0);
  CHECK_FALSE(fs::exists(folder.path / "videos"));
  CHECK_FALSE(fs::exists(folder.path / "frames"));
  const reports::Report report = reports::read_report(folder.path);
  const auto& variant = report.variants.at(1);
  REQUIRE(variant.setup.has_value());
  CHECK(variant.setup->weights == "random");
  CHECK(variant.setup->timed_steps == 2);
  CHECK(variant.setup->schedule_steps == 8);
  CHECK(variant.setup->forwards == 1);
  CHECK(variant.setup->attention_kernels == "a kernel/of its own");
  CHECK(variant.setup->offload == "layers");
  CHECK(variant.is_random());
  CHECK(variant.is_partial());
  CHECK_FALSE(variant.stages.contains("e2e"));
  CHECK_FALSE(variant.stages.contains("denoise"));
  CHECK(variant.stages.at("denoise_extrapolated").median ==
        Approx(4 * variant.stages.at("denoise_timed").median).epsilon(0.01));
  CHECK(variant.speedups.contains("denoise_extrapolated"));
  // Audits, which this engine's made-up work does not pass, come after the two.
  const auto is_audit = [](const std::string& warning) { return warning.starts_with("Audit"); };
  REQUIRE(report.warnings.size() -
              static_cast<size_t>(std::count_if(report.warnings.begin(), report.warnings.end(), is_audit)) ==
          2);
  CHECK(report.warnings[0].find("Random weights: dense, vorta") == 0);
  CHECK(report.warnings[1].find("vorta 2 of 8") != std::string::npos);
}
