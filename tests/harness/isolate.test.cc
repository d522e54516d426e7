// SPDX-License-Identifier: Apache-2.0
// Workers that crash, hang, are killed or lose their GPU, with an engine that paints by formula: what is stored, and
// that every case is done exactly once.
#include "harness/run/isolate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "harness/run/runner.h"
#include "reports/store/database.h"
#include "reports/store/maintain.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
namespace fs = std::filesystem;

namespace {

using Hook = std::function<void(const VideoOrder&)>;

class PaintingEngine final : public VideoEngine {
 public:
  explicit PaintingEngine(Hook hook) : hook_(std::move(hook)) {}
  void prepare(const VideoOrder&) override {}
  engine::PlanSummary plan(const VideoOrder&) override {
    engine::PlanSummary plan;
    plan.size = {.frames = 2, .height = 16, .width = 16, .latents = {1, 2, 2}, .tokens = {1, 2, 2}};
    plan.dense_pass = {.patch = 1, .self_linear = 2, .cross_attention = 1, .self_attention = 4};
    plan.step_flops = {8};
    plan.attention_flops = 4;
    plan.dense_step_flops = 8;
    plan.dense_step_attention = 4;
    return plan;
  }
  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver*) override {
    hook_(order);
    return at::full({2, 3, 16, 16}, 0.2 + 0.01 * static_cast<double>(order.seed));
  }
  std::string model_json(const SuiteSpec&) override { return R"({"name":"painting"})"; }

 private:
  Hook hook_;
};

SuiteSpec isolated_suite(size_t prompts, uint64_t seeds) {
  SuiteSpec spec;
  spec.name = "isolated";
  spec.title = "Isolated";
  spec.reference = "dense";
  for (size_t i = 0; i < prompts; ++i)
    spec.prompts.push_back({.id = fmt::format("p{}", i), .text = fmt::format("words {}", i)});
  for (uint64_t i = 0; i < seeds; ++i) spec.seeds.push_back(i);
  spec.variants = {{.name = "dense", .attention = {.name = "dense"}},
                   {.name = "vorta", .attention = {.name = "vorta"}}};
  spec.metrics = {"psnr"};
  spec.measurement = {.warmup = 0, .trials = 1, .profile = false, .filmstrip_columns = 1};
  spec.resolved_json = R"({"name":"isolated"})";
  return spec;
}

struct RunFolder {
  fs::path path = fs::temp_directory_path() / fmt::format("vorta-isolate-test-{}", ::getpid());
  RunFolder() { fs::remove_all(path); }
  ~RunFolder() { fs::remove_all(path); }
  fs::path database() const { return path / "run.sqlite"; }
};

// A worker by fork; the engine does what `hook` says.
StartWorker worker(const SuiteSpec& spec, const RunFolder& folder, Hook hook) {
  return [&spec, &folder, hook = std::move(hook)](int progress_fd, int64_t index, int64_t count) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    die_with_parent();
    for (const int fatal : {SIGSEGV, SIGABRT}) ::signal(fatal, SIG_DFL);  // not Catch's report of a failed test
    at::set_num_threads(1);  // a forked child has lost the threads of the parent's OpenMP pool
    PaintingEngine engine(hook);
    RunOptions options{.out_dir = folder.path, .only = {}, .arguments = {}, .environment = {}};
    options.progress_fd = progress_fd;
    if (count > 1) options.shard = Shard{index, count};
    try {
      const RunSummary summary = run_suite(spec, options, engine);
      ::_exit(summary.complete() ? 0 : 1);
    } catch (const PoisonedContext&) {
      ::_exit(kWorkerPoisoned);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "worker: %s\n", error.what());
      ::_exit(2);
    }
  };
}

int64_t number(const RunFolder& folder, const std::string& query) {
  const reports::Database database(folder.database(), reports::OpenMode::kReadOnly);
  auto statement = database.prepare(query);
  return statement.step() ? statement.integer(0) : -1;
}

int64_t errors(const RunFolder& folder, const std::string& kind) {
  return number(folder, "SELECT count(*) FROM error WHERE kind = '" + kind + "'");
}

void check_each_once(const RunFolder& folder, int64_t cases) {
  CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'ok'") == cases);
  CHECK(number(
            folder,
            "SELECT count(*) FROM (SELECT 1 FROM trial WHERE status = 'ok' GROUP BY case_id, item_id, role, repeat)") ==
        cases);
  CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'running'") == 0);
  const auto found = reports::verify_database(folder.database());
  for (const std::string& problem : found.problems) CHECK(problem == "");
  CHECK(found.unfinished == 0);
}

bool is_vorta(const VideoOrder& order) { return order.variant->name == "vorta"; }

}  // namespace

TEST_CASE("a case that crashes is tried twice, then left alone, and all others are done", "[harness][isolate]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(3, 1);
  const IsolationSummary done =
      run_isolated({.database = folder.database()}, worker(spec, folder, [](const VideoOrder& order) {
                     if (is_vorta(order)) ::raise(SIGSEGV);
                   }));
  CHECK(done.crashes == 2);
  CHECK(done.started == 3);
  CHECK(done.exit_code == 1);
  CHECK(errors(folder, "crash") == 2);
  CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'ok'") == 3);
  CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'skipped' AND detail LIKE 'quarantined%'") == 3);
}

TEST_CASE("a crash by chance is done again and costs nothing else", "[harness][isolate]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(3, 1);
  const fs::path mark = folder.path / "crashed-once";
  const IsolationSummary done =
      run_isolated({.database = folder.database()}, worker(spec, folder, [mark](const VideoOrder& order) {
                     if (!is_vorta(order) || fs::exists(mark)) return;
                     fs::create_directory(mark);
                     ::abort();
                   }));
  CHECK(done.crashes == 1);
  CHECK(done.exit_code == 0);
  CHECK(errors(folder, "crash") == 1);
  check_each_once(folder, 6);
}

TEST_CASE("a trial that takes too long and a worker that is silent are ended and told apart", "[harness][isolate]") {
  const SuiteSpec spec = isolated_suite(1, 1);
  const Hook hang = [](const VideoOrder& order) {
    if (is_vorta(order)) std::this_thread::sleep_for(std::chrono::minutes(10));
  };
  {
    const RunFolder folder;
    const IsolationSummary done =
        run_isolated({.database = folder.database(), .trial_seconds = 3}, worker(spec, folder, hang));
    CHECK(done.timeouts == 2);
    CHECK(errors(folder, "timeout") == 2);
    CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'ok'") == 1);
  }
  const RunFolder folder;
  run_isolated({.database = folder.database(), .stall_seconds = 3}, worker(spec, folder, hang));
  CHECK(errors(folder, "stalled") == 2);
}

TEST_CASE("a GPU context that is lost costs the trial and the process, not the rest", "[harness][isolate]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(2, 1);
  const IsolationSummary done =
      run_isolated({.database = folder.database()}, worker(spec, folder, [](const VideoOrder& order) {
                     TORCH_CHECK(!is_vorta(order) || order.prompt->id != "p0",
                                 "CUDA error: an illegal memory access was encountered");
                   }));
  CHECK(done.started == 2);
  CHECK(done.crashes == 0);
  CHECK(errors(folder, "poisoned") == 1);
  CHECK(number(folder, "SELECT count(*) FROM trial WHERE status = 'ok'") == 3);
}

TEST_CASE("workers at once share the items and one run", "[harness][isolate]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(5, 2);
  const IsolationSummary done =
      run_isolated({.database = folder.database(), .workers = 4}, worker(spec, folder, [](const VideoOrder&) {}));
  CHECK(done.started == 4);
  CHECK(done.exit_code == 0);
  CHECK(number(folder, "SELECT count(*) FROM run") == 1);
  check_each_once(folder, 20);
}

TEST_CASE("a stop from outside loses the trials in flight, and the next call goes on", "[harness][isolate]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(4, 2);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const Hook slow = [](const VideoOrder&) { std::this_thread::sleep_for(std::chrono::milliseconds(100)); };
    ::_exit(run_isolated({.database = folder.database()}, worker(spec, folder, slow)).exit_code);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  ::kill(child, SIGINT);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kRunStopped);
  CHECK(run_isolated({.database = folder.database()}, worker(spec, folder, [](const VideoOrder&) {})).exit_code == 0);
  check_each_once(folder, 16);
}

TEST_CASE("two hundred kills at random times, then a last call: every case exactly once", "[harness][kills]") {
  const RunFolder folder;
  const SuiteSpec spec = isolated_suite(20, 5);
  std::mt19937 random(7);
  int killed = 0;
  for (int round = 0; round < 200; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::setpgid(0, 0);  // orchestrator and worker, killed together
      ::_exit(run_isolated({.database = folder.database()}, worker(spec, folder, [](const VideoOrder&) {})).exit_code);
    }
    ::setpgid(child, child);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 150000));
    ::kill(-child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the last worker's end
  CHECK(killed > 100);
  CHECK(run_isolated({.database = folder.database()}, worker(spec, folder, [](const VideoOrder&) {})).exit_code == 0);
  check_each_once(folder, 200);
}
