// SPDX-License-Identifier: Apache-2.0
// GPU rows in the store and in every format. All numbers are made up.
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/query/report.h"
#include "reports/render/renderer.h"
#include "reports/render/tables.h"
#include "reports/store/database.h"
#include "reports/store/run_store.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;
using vorta::tests::make_sample_run;
using vorta::tests::TempFolder;

namespace {

GpuProfile small_profile() {
  GpuProfile profile;
  profile.kernels = {{"cutlass::gemm<\"bf16\", 128>", "ffn", "", 80, 600'000, 5'000, 7'000, 9'000, 3.0e11, 1.2e9},
                     {"attention_<script>", "attention", "sliding", 40, 400'000, 8'000, 10'000, 12'000}};
  profile.places = {{"", -1, -1, "", "", 1, 10'000},
                    {"denoise", 0, 0, "attention", "sliding", 40, 400'000},
                    {"denoise", 0, 0, "ffn", "", 80, 590'000}};
  profile.steps = {{0, 120, 990'000, 980'000, 985'000, 1'000'000}};
  profile.counters = {{"step/0", "sm__ops_path_tensor_src_bf16_dst_fp32.sum", 3.0e10},
                      {"step/0", "dram__bytes_read.sum", 5.0e6},
                      {"stage/vae", "dram__bytes_read.sum", 7.0e6}};
  profile.ceilings = {{"bf16_flops", 8.0e14}, {"copy_bytes", 3.0e12}};
  profile.kernel_count = 121;
  profile.kernel_ns = 1'000'000;
  profile.copies = 3;
  profile.copy_ns = 2'000;
  profile.copy_bytes = 4096;
  profile.busy_ns = 995'000;
  profile.unattributed_ns = 10'000;
  profile.untimed_records = 2;
  profile.dropped_records = 0;
  profile.overhead = 1.04;
  profile.note = "no permission to read counters";
  return profile;
}

GpuPowerRow small_power(PowerRegime regime) {
  GpuPowerRow row;
  row.device = "NVIDIA H100";
  row.samples = 50;
  row.median_sm_clock_mhz = 1380;
  row.min_sm_clock_mhz = 1335;
  row.max_sm_clock_mhz = 1980;
  row.mean_power_w = 650;
  row.max_power_w = 701;
  row.max_temperature_c = 61;
  row.energy_j = 3250.5;
  row.throttle_reasons = "sw_power_cap 93 %";
  row.regime = regime;
  return row;
}

// One variant on a GPU: a timed and a profiled trial.
std::filesystem::path make_gpu_run(const std::filesystem::path& folder) {
  RunStore store = RunStore::open_or_create(folder / "run.sqlite");
  RunRow row;
  row.suite = "gpu";
  row.title = "made-up GPU numbers";
  row.suite_json = "{}";
  row.reference_variant = "dense";
  const RunId run = store.begin_run(row, {}).id;
  const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
  const ItemId item = store.ensure_item({"a prompt", "", "{}", 1});
  TrialResult timed;
  timed.samples = {{"step", 0, 1'000'000, {}}, {"e2e", -1, 5'000'000, {}}};
  timed.gpu.power = small_power(PowerRegime::kSustained);
  store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), timed);
  TrialResult profiled;
  profiled.gpu = {small_profile(), small_power(PowerRegime::kBurst)};
  profiled.artefacts = {{"trace", "traces/dense.json", "application/json", 12}};
  store.finish_trial(store.begin_trial({run, id, item, TrialRole::kProfile, 0}), profiled);
  store.set_predictions(run, id, {{"flops/attention", "FLOP", 1.0e10, {}}, {"flops/linear", "FLOP", 3.0e10, {}}});
  store.end_run(run);
  return folder / "run.sqlite";
}

std::string cell(const std::vector<Table>& tables, const std::string& id, size_t row, size_t column) {
  for (const Table& table : tables) {
    if (table.id == id) return table.rows.at(row).at(column);
  }
  throw std::runtime_error("no table " + id);
}

}  // namespace

TEST_CASE("GPU rows come back as they were stored", "[reports][gpu]") {
  TempFolder folder;
  const Report report = read_report(make_gpu_run(folder.path()));
  const Variant& variant = report.variants.at(0);
  REQUIRE(variant.gpu.has_value());
  const GpuProfile& gpu = *variant.gpu;
  REQUIRE(gpu.kernels.size() == 2);
  CHECK(gpu.kernels[0].name == "cutlass::gemm<\"bf16\", 128>");
  CHECK(gpu.kernels[1].route == "sliding");
  CHECK(gpu.kernels[1].median_ns == 10'000);
  CHECK(gpu.places.size() == 3);
  CHECK(gpu.steps.at(0).span_ns == 1'000'000);
  CHECK(gpu.counters.size() == 3);
  CHECK(gpu.busy_ns == 995'000);
  CHECK(gpu.copy_bytes == 4096);
  CHECK(*gpu.overhead == Approx(1.04));
  CHECK(gpu.note == "no permission to read counters");
  REQUIRE(variant.power.size() == 2);
  CHECK(variant.power[0].role == TrialRole::kTiming);
  CHECK(variant.power[0].row.regime == PowerRegime::kSustained);
  CHECK(variant.power[1].row.regime == PowerRegime::kBurst);
  CHECK(*variant.power[0].row.energy_j == Approx(3250.5));
}

TEST_CASE("tables of the GPU state shares, steps, counted against planned work, and the regime", "[reports][gpu]") {
  TempFolder folder;
  const auto tables = make_tables(read_report(make_gpu_run(folder.path())));
  CHECK(cell(tables, "gpu-kernels", 0, 6) == "60.0 %");
  CHECK(cell(tables, "gpu-kernels", 1, 3) == "sliding");
  CHECK(cell(tables, "gpu-places", 0, 2) == "attention");
  CHECK(cell(tables, "gpu-places", 2, 1) == "outside every scope");
  CHECK(cell(tables, "gpu-steps", 0, 7) == "98.0 %");
  CHECK(cell(tables, "gpu-counters", 0, 4) == "75.0 %");
  CHECK(cell(tables, "gpu-counters", 1, 2) == "5e+06");  // bytes of the step, without the decoder's
  CHECK(cell(tables, "gpu-power", 0, 2) == "burst");
  CHECK(cell(tables, "gpu-power", 1, 4) == "1380 MHz");
  CHECK(cell(tables, "gpu-notes", 0, 1) == "1.04x");
  CHECK(cell(tables, "gpu-notes", 0, 6) == "traces/dense.json");
}

TEST_CASE("kernels stand against the nearer of the two measured roofs", "[reports][gpu]") {
  TempFolder folder;
  const Report report = read_report(make_gpu_run(folder.path()));
  const GpuProfile& gpu = *report.variants.at(0).gpu;
  CHECK(gpu.kernels.at(0).flops == 3.0e11);
  CHECK(gpu.kernels.at(1).flops == 0);
  REQUIRE(gpu.ceilings.size() == 2);
  const auto tables = make_tables(report);
  CHECK(cell(tables, "gpu-roofline", 0, 5) == "500.0");  // TFLOPS in 0.6 ms
  CHECK(cell(tables, "gpu-roofline", 0, 6) == "2.00");
  CHECK(cell(tables, "gpu-roofline", 0, 7) == "memory");  // 1.2 GB need 0.4 ms, the products 0.375 ms
  CHECK(cell(tables, "gpu-roofline", 0, 9) == "66.7 %");
  CHECK_THROWS(cell(tables, "gpu-roofline", 1, 0));  // a kernel whose work nobody states
  CHECK(cell(tables, "gpu-steps", 0, 8) == "yes");
  CHECK(render_csv(report, {folder.path()}).find("\"gpu_ceiling\"") != std::string::npos);
}

TEST_CASE("every format shows GPU kernels, and their names cannot become markup", "[reports][gpu]") {
  TempFolder folder;
  const Report report = read_report(make_gpu_run(folder.path()));
  const auto json = nlohmann::json::parse(render_json(report, {folder.path()}));
  CHECK(json["variants"][0]["gpu"]["kernels"][0]["calls"] == 80);
  CHECK(json["variants"][0]["gpu"]["steps"][0]["span_s"].get<double>() == Approx(1e-3));
  CHECK(json["variants"][0]["gpu_power"][0]["regime"] == "sustained");
  CHECK(render_markdown(report, {folder.path()}).find("## GPU kernels") != std::string::npos);
  CHECK(render_csv(report, {folder.path()}).find("\"gpu_kernel\"") != std::string::npos);
  const std::string page = render_html(report, {folder.path()});
  CHECK(page.find("id=\"gpu-kernels\"") != std::string::npos);
  CHECK(page.find("attention_<script>") == std::string::npos);
}

TEST_CASE("a run without a GPU shows no GPU table in any format", "[reports][gpu]") {
  TempFolder folder;
  const Report report = read_report(make_sample_run(folder.path()));
  CHECK_FALSE(report.variants.at(0).gpu.has_value());
  for (const Renderer& renderer : renderers()) {
    const std::string text = renderer.render(report, {folder.path()});
    INFO(renderer.name);
    CHECK(text.find("\"gpu") == std::string::npos);
    CHECK(text.find("GPU kernels") == std::string::npos);
  }
}

TEST_CASE("a database of the second schema shows its kernels without work", "[reports][gpu]") {
  TempFolder folder;
  const auto file = make_gpu_run(folder.path());
  Database(file, OpenMode::kReadWrite)
      .execute("DROP TABLE trial_setup; DROP TABLE gpu_kernel_work; DROP TABLE gpu_ceiling; PRAGMA user_version = 2");
  const Report report = read_report(file);
  CHECK(report.variants.at(0).gpu->kernels.size() == 2);
  CHECK(report.variants.at(0).gpu->kernels.at(0).flops == 0);
  CHECK(report.warnings.empty());
}

// A run whose trials have random weights, and scores and quality claims that somebody put there all the same.
std::filesystem::path make_random_run(const std::filesystem::path& folder) {
  RunStore store = RunStore::open_or_create(folder / "run.sqlite");
  RunRow row;
  row.suite = "random";
  row.title = "made-up";
  row.suite_json = "{}";
  row.reference_variant = "dense";
  row.claims = {{"quality", "Random weights make fine videos", "quality/temporal_flickering", "dense", "", 0.1, {}},
                {"slow", "A step takes at most a second", "seconds/step", "dense", "", {}, 1.0},
                {"forward", "A forward takes at most a second", "seconds/forward", "dense", "", {}, 1.0}};
  const RunId run = store.begin_run(row, {}).id;
  store.define_metrics(
      {{"quality/temporal_flickering", "temporal flickering", "0..1", Direction::kHigher, "quality", "1"}});
  const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
  for (int64_t prompt = 0; prompt < 3; ++prompt) {
    TrialResult timed;
    timed.samples = {{"step", 0, 500'000'000 + prompt, {}},
                     {"denoise_timed", -1, 1'000'000'000, {}},
                     {"denoise_extrapolated", -1, 25'000'000'000, {}}};
    timed.scores = {{"quality/temporal_flickering", 0.98765, ""}};
    timed.setup = {"random", 2, 50, 2, "grouped_attention/sm90", "layers", "fp8"};
    const ItemId item = store.ensure_item({"prompt " + std::to_string(prompt), "", "{}", 1});
    store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), timed);
  }
  store.end_run(run);
  return folder / "run.sqlite";
}

TEST_CASE("random weights and extrapolated times are said first in every format, and no quality at all",
          "[reports][gpu]") {
  TempFolder folder;
  const Report report = read_report(make_random_run(folder.path()));
  CHECK(report.variants.at(0).setup->attention_kernels == "grouped_attention/sm90");
  CHECK(report.claims.at(0).verdict == Verdict::kNotMeasured);
  CHECK(report.claims.at(1).verdict == Verdict::kHolds);
  CHECK(report.claims.at(1).value == Approx(0.5));
  CHECK(report.claims.at(2).value == Approx(0.25));
  for (const Renderer& renderer : renderers()) {
    const std::string text = renderer.render(report, {folder.path()});
    INFO(renderer.name);
    CHECK(text.find("0.9876") == std::string::npos);
    CHECK(text.find("0.988") == std::string::npos);
    CHECK(text.find("andom") != std::string::npos);
    CHECK(text.find("xtrapolated") != std::string::npos);
  }
  const auto tables = make_tables(report);
  CHECK(cell(tables, "speed", 0, 0) == "dense (random weights)");
  CHECK(cell(tables, "speed", 0, 1).find("25 s, denoising, extrapolated from 2 of 50 steps") == 0);
  CHECK(cell(tables, "setup", 0, 5) == "grouped_attention/sm90");
}

TEST_CASE("counted work of a variant stands beside its claimed sparsity", "[reports][gpu]") {
  TempFolder folder;
  RunStore store = RunStore::open_or_create(folder.path() / "run.sqlite");
  RunRow row;
  row.suite = "gpu";
  row.title = "made-up";
  row.suite_json = "{}";
  row.reference_variant = "dense";
  const RunId run = store.begin_run(row, {}).id;
  const ItemId item = store.ensure_item({"a prompt", "", "{}", 1});
  const auto add = [&](const char* name, double planned, double counted, double bytes) {
    const CaseId id = store.ensure_case(run, {name, "", "{}", planned > 3e10 ? 0 : 1});
    TrialResult profiled;
    profiled.gpu.profile = small_profile();
    profiled.gpu.profile->counters = {{"step/0", "sm__ops_path_tensor_src_bf16_dst_fp32.sum", counted},
                                      {"step/0", "dram__bytes_read.sum", bytes},
                                      {"step/0", "dram__bytes_write.sum", bytes}};
    store.finish_trial(store.begin_trial({run, id, item, TrialRole::kProfile, 0}), profiled);
    store.set_predictions(run, id, {{"flops/linear", "FLOP", planned, {}}});
  };
  add("dense", 4.0e10, 4.4e10, 1e9);
  add("vorta", 1.0e10, 1.32e10, 5e8);
  const auto tables = make_tables(read_report(folder.path()));
  CHECK(cell(tables, "gpu-sparsity", 1, 0) == "vorta");
  CHECK(cell(tables, "gpu-sparsity", 1, 1) == "25.0 %");
  CHECK(cell(tables, "gpu-sparsity", 1, 2) == "30.0 %");
  CHECK(cell(tables, "gpu-sparsity", 1, 3) == "120.0 %");
  CHECK(cell(tables, "gpu-sparsity", 1, 4) == "50.0 %");
}

TEST_CASE("a GPU row that breaks a rule is rolled back with its trial", "[reports][gpu]") {
  TempFolder folder;
  make_gpu_run(folder.path());
  RunStore store = RunStore::open_or_create(folder.path() / "run.sqlite");
  TrialResult bad;
  bad.gpu.profile = small_profile();
  bad.gpu.profile->kernels.push_back(bad.gpu.profile->kernels.front());  // the same kernel, part and branch twice
  const TrialId trial = store.begin_trial({1, 1, 1, TrialRole::kProfile, 1});
  CHECK_THROWS_AS(store.finish_trial(trial, bad), DataError);
  CHECK_THROWS_AS(parse_power_regime("warm", "here"), DataError);
  const Database database(folder.path() / "run.sqlite", OpenMode::kReadOnly);
  Statement count = database.prepare("SELECT count(*) FROM gpu_profile");
  REQUIRE(count.step());
  CHECK(count.integer(0) == 1);
}
