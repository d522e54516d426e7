// SPDX-License-Identifier: Apache-2.0
// GPU probes on made-up records: no test here needs a GPU.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/base/error.h"
#include "harness/probe/counter_plan.h"
#include "harness/probe/counter_session.h"
#include "harness/probe/cupti_session.h"
#include "harness/probe/gpu_capability.h"
#include "harness/probe/gpu_sampler.h"
#include "harness/probe/gpu_summary.h"
#include "harness/probe/gpu_watch.h"
#include "harness/probe/nvtx_scopes.h"
#include "harness/probe/trace_json.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
using reports::PowerRegime;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t scope(GpuTrace& trace, const Place& place) {
  trace.scopes.push_back({.parent = -1, .name = "scope", .place = place, .begin_ns = 1, .end_ns = 2});
  return static_cast<int64_t>(trace.scopes.size()) - 1;
}

GpuRecord kernel(int64_t name, int64_t begin_ns, int64_t end_ns, int64_t where, int64_t stream = 0) {
  GpuRecord record{.work = GpuWork::kKernel, .name = name, .begin_ns = begin_ns, .end_ns = end_ns};
  record.stream = stream;
  record.scope = where;
  return record;
}

Place layer_place(int64_t step, int64_t layer, const char* part, const char* route = "") {
  return {.stage = "denoise", .step = step, .layer = layer, .part = part, .route = route};
}

// `seconds` of samples ten times a second; clock and utilisation by the second.
std::vector<GpuSample> samples(int64_t from_s, int64_t seconds, const std::function<double(double)>& clock,
                               double utilisation) {
  std::vector<GpuSample> out;
  for (int64_t tenth = 0; tenth < seconds * 10; ++tenth) {
    GpuSample sample;
    sample.time_ns = from_s * kSecond + tenth * kSecond / 10;
    sample.sm_clock_mhz = clock(static_cast<double>(tenth) / 10.0);
    sample.power_w = utilisation > 0.5 ? 690 : 90;
    sample.temperature_c = 60;
    sample.utilisation = utilisation;
    sample.throttle_reasons = utilisation > 0.5 ? 0x4 : 0x1;
    sample.energy_mj = 1'000'000 + (sample.time_ns - from_s * kSecond) / 1'000'000 * 600 / 1000 * 1000;  // 600 W
    out.push_back(sample);
  }
  return out;
}

std::vector<GpuSample> joined(std::vector<GpuSample> first, const std::vector<GpuSample>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// An H100 under a steady load: clocks fall for eight seconds, then stay.
double settling(double s) { return s < 8 ? 1980 - 75 * s : 1380; }

class ScriptedGpu final : public GpuReader {
 public:
  explicit ScriptedGpu(int64_t reads_before_failure) : left_(reads_before_failure) {}
  std::string device_name() override { return "scripted"; }
  GpuSample read() override {
    if (left_-- == 0) throw MachineError("NVML", "GPU is lost");
    GpuSample sample;
    sample.sm_clock_mhz = 1000;
    return sample;
  }

 private:
  int64_t left_;
};

}  // namespace

TEST_CASE("scopes nest into a place, and the next layer knows nothing of the part and branch of the one before",
          "[harness][scopes]") {
  ScopeLog log;
  log.begin("stage/denoise", 10);
  log.begin("step/3", 11);
  log.begin("vorta::layer/7", 12);
  log.begin("vorta::self_attention", 13);
  const int64_t inner = log.begin("vorta::route/sliding", 14);
  log.end(15);
  log.end(16);
  log.end(17);
  const int64_t next = log.begin("vorta::layer/8", 18);
  CHECK(log.current() == next);
  log.end(19);
  log.end(20);
  log.end(21);
  CHECK(log.current() == -1);
  CHECK_THROWS_AS(log.end(22), InternalError);
  const std::vector<Scope> scopes = log.take(30);
  REQUIRE(scopes.size() == 6);
  CHECK(scopes[static_cast<size_t>(inner)].place == layer_place(3, 7, "self_attention", "sliding"));
  CHECK(scopes[static_cast<size_t>(inner)].parent == 3);
  CHECK(scopes[static_cast<size_t>(next)].place == layer_place(3, 8, ""));
  CHECK(scopes[1].begin_ns == 11);
  CHECK(scopes[1].end_ns == 20);
}

TEST_CASE("scopes that an exception left open are closed when the log is taken", "[harness][scopes]") {
  ScopeLog log;
  log.begin("stage/denoise", 1);
  log.begin("step/0", 2);
  const auto scopes = log.take(9);
  CHECK(scopes[0].end_ns == 9);
  CHECK(scopes[1].end_ns == 9);
  CHECK(log.current() == -1);
}

TEST_CASE("a replayed graph node has the step of its launch and the layer of its capture", "[harness][scopes]") {
  const Place launched{.stage = "denoise", .step = 9, .layer = -1, .part = "", .route = ""};
  CHECK(place_of_replay(launched, layer_place(0, 4, "ffn")) == layer_place(9, 4, "ffn"));
  GpuTrace trace;
  trace.names = {"k"};
  GpuRecord record = kernel(0, 1, 2, scope(trace, launched));
  record.capture_scope = scope(trace, layer_place(0, 4, "attention", "coreset"));
  CHECK(trace.place(record) == layer_place(9, 4, "attention", "coreset"));
}

TEST_CASE("overlapping streams count once in busy time and twice in kernel time", "[harness][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"gemm", "norm"};
  const int64_t at = scope(trace, layer_place(0, 0, "ffn"));
  trace.records = {kernel(0, 100, 200, at, 7), kernel(1, 150, 250, at, 8), kernel(1, 160, 170, at, 9),
                   kernel(0, 400, 450, at, 7)};
  const reports::GpuProfile profile = summarise_trace(trace);
  CHECK(profile.kernel_ns == 100 + 100 + 10 + 50);
  CHECK(profile.busy_ns == 200);
  REQUIRE(profile.steps.size() == 1);
  CHECK(profile.steps[0].busy_ns == 200);
  CHECK(profile.steps[0].span_ns == 350);
  CHECK(profile.steps[0].layer_ns == profile.kernel_ns);
}

TEST_CASE("an operator's work goes to the longest kernel that it launched, once", "[scopes][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"transpose", "gemm", "elementwise"};
  const int64_t layer = scope(trace, layer_place(0, 0, "ffn"));
  const auto op = [&](int64_t parent, double flops, double bytes) {
    const int64_t index = scope(trace, layer_place(0, 0, "ffn"));
    trace.scopes.back().parent = parent;
    trace.scopes.back().work = {flops, bytes};
    return index;
  };
  const int64_t linear = op(layer, 100, 10), inner = op(linear, 90, 9), second = op(layer, 50, 5);
  trace.records = {kernel(0, 100, 110, linear), kernel(1, 110, 210, inner), kernel(1, 300, 400, second),
                   kernel(2, 500, 900, layer)};
  const reports::GpuProfile profile = summarise_trace(trace);
  REQUIRE(profile.kernels.size() == 3);
  for (const auto& row : profile.kernels) {
    CHECK(row.flops == (row.name == "gemm" ? 150 : 0));  // the outer operator counts what it calls
    CHECK(row.bytes == (row.name == "gemm" ? 15 : 0));
  }
}

TEST_CASE("a graph's kernel does its operator's work once a replay", "[scopes][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"gemm"};
  const int64_t captured = scope(trace, layer_place(0, 1, "ffn"));
  trace.scopes.back().work = {100, 10};
  for (int64_t step = 0; step < 3; ++step) {
    Place place;
    place.stage = "denoise";
    place.step = step;
    GpuRecord replay = kernel(0, 100 + 100 * step, 150 + 100 * step, scope(trace, place));
    replay.capture_scope = captured;
    trace.records.push_back(replay);
  }
  CHECK(summarise_trace(trace).kernels.at(0).flops == 300);
}

TEST_CASE("kernels are summed by name, part and branch, the longest first", "[harness][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"gemm", "attention"};
  const int64_t dense = scope(trace, layer_place(0, 0, "attention", "dense"));
  const int64_t sliding = scope(trace, layer_place(0, 0, "attention", "sliding"));
  const int64_t later = scope(trace, layer_place(1, 5, "attention", "sliding"));
  trace.records = {kernel(1, 10, 40, dense), kernel(1, 50, 60, sliding), kernel(1, 60, 80, later),
                   kernel(1, 80, 110, later), kernel(0, 110, 120, later)};
  const reports::GpuProfile profile = summarise_trace(trace);
  REQUIRE(profile.kernels.size() == 3);
  CHECK(profile.kernels[0].name == "attention");
  CHECK(profile.kernels[0].route == "sliding");
  CHECK(profile.kernels[0].calls == 3);
  CHECK(profile.kernels[0].total_ns == 60);
  CHECK(profile.kernels[0].min_ns == 10);
  CHECK(profile.kernels[0].median_ns == 20);
  CHECK(profile.kernels[0].max_ns == 30);
  CHECK(profile.kernels[2].name == "gemm");
  REQUIRE(profile.places.size() == 3);
  int64_t by_place = 0;
  for (const auto& place : profile.places) by_place += place.total_ns;
  CHECK(by_place == profile.kernel_ns);
}

TEST_CASE("kernels outside every scope are counted apart and belong to no step", "[harness][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"k"};
  const int64_t in_step = scope(trace, layer_place(2, 1, "ffn"));
  const int64_t in_stage = scope(trace, {.stage = "vae", .step = -1, .layer = -1, .part = "", .route = ""});
  trace.records = {kernel(0, 100, 200, in_step), kernel(0, 200, 240, -1), kernel(0, 300, 310, in_stage)};
  const reports::GpuProfile profile = summarise_trace(trace);
  CHECK(profile.unattributed_ns == 40);
  CHECK(profile.kernel_ns == 150);
  REQUIRE(profile.steps.size() == 1);
  CHECK(profile.steps[0].kernel_ns == 100);
}

TEST_CASE("kernel time by layer sums to the traced step", "[harness][gpu_summary]") {
  // Three steps of five layers on one stream, 2 ns between kernels, and a kernel of each step outside the layers.
  GpuTrace trace;
  trace.names = {"gemm", "attention", "norm"};
  int64_t now = 1000;
  for (int64_t step = 0; step < 3; ++step) {
    const int64_t around = scope(trace, {.stage = "denoise", .step = step, .layer = -1, .part = "", .route = ""});
    trace.records.push_back(kernel(2, now, now + 50, around));
    now += 52;
    for (int64_t layer = 0; layer < 5; ++layer) {
      const int64_t attention = scope(trace, layer_place(step, layer, "attention", "dense")),
                    ffn = scope(trace, layer_place(step, layer, "ffn"));
      trace.records.push_back(kernel(1, now, now + 600, attention));
      trace.records.push_back(kernel(0, now + 602, now + 1000, ffn));
      now += 1002;
    }
  }
  const reports::GpuProfile profile = summarise_trace(trace);
  REQUIRE(profile.steps.size() == 3);
  for (const auto& step : profile.steps) {
    std::map<int64_t, int64_t> by_layer;
    for (const auto& place : profile.places) {
      if (place.step == step.step && place.layer >= 0) by_layer[place.layer] += place.total_ns;
    }
    int64_t layers = 0;
    for (const auto& [layer, ns] : by_layer) layers += ns;
    CHECK(by_layer.size() == 5);
    CHECK(layers == step.layer_ns);
    CHECK(static_cast<double>(layers + 50) == Approx(static_cast<double>(step.span_ns)).epsilon(0.03));
    CHECK(step.kernels == 11);
  }
}

TEST_CASE("records without a time and dropped ones are counted and enter no sum", "[harness][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"k"};
  trace.dropped_records = 3;
  const int64_t at = scope(trace, layer_place(0, 0, "ffn"));
  trace.records = {kernel(0, 0, 0, at), kernel(0, 10, 20, at)};
  const reports::GpuProfile profile = summarise_trace(trace);
  CHECK(profile.untimed_records == 1);
  CHECK(profile.dropped_records == 3);
  CHECK(profile.kernel_count == 1);
  CHECK(profile.kernel_ns == 10);
  const reports::GpuProfile nothing = summarise_trace({});
  CHECK(nothing.kernel_ns == 0);
  CHECK(nothing.kernels.empty());
}

TEST_CASE("copies count as busy time of their step and not as kernels", "[harness][gpu_summary]") {
  GpuTrace trace;
  trace.names = {"k", "copy host to device"};
  const int64_t at = scope(trace, layer_place(0, 0, ""));
  GpuRecord copy = kernel(1, 100, 150, at);
  copy.work = GpuWork::kCopy;
  copy.bytes = 4096;
  trace.records = {copy, kernel(0, 120, 200, at)};
  const reports::GpuProfile profile = summarise_trace(trace);
  CHECK(profile.kernel_ns == 80);
  CHECK(profile.copy_ns == 50);
  CHECK(profile.copy_bytes == 4096);
  CHECK(profile.steps[0].busy_ns == 100);
  CHECK(profile.kernels.size() == 1);
}

TEST_CASE("kernel names are demangled, lose their arguments and stay apart when cut", "[harness][gpu_trace]") {
  CHECK(readable_kernel_name("_Z4gemmPKfS0_Pf") == "gemm");
  CHECK(readable_kernel_name("_ZN2at6native13reduce_kernelILi512EEEvi") == "at::native::reduce_kernel<512>");
  CHECK(readable_kernel_name("sm90_xmma_gemm_bf16") == "sm90_xmma_gemm_bf16");
  CHECK(readable_kernel_name("") == "(unnamed kernel)");
  CHECK(readable_kernel_name(nullptr) == "(unnamed kernel)");
  const std::string one = std::string(300, 'k') + "one", two = std::string(300, 'k') + "two";
  CHECK(readable_kernel_name(one.c_str()).size() == 200);
  CHECK(readable_kernel_name(one.c_str()) != readable_kernel_name(two.c_str()));
}

TEST_CASE("a trace is JSON that Perfetto reads, whatever the names", "[harness][trace_json]") {
  GpuTrace trace;
  trace.scopes = {{.parent = -1,
                   .name = "vorta::layer/0 \"quoted\\\n\x01",
                   .place = layer_place(1, 0, "at\"t", "sliding"),
                   .begin_ns = 5'000'000'123,
                   .end_ns = 5'000'001'124}};
  trace.names = {"void f<'\\x'>(\"a\", \xff)\t</script>", "copy"};
  trace.records = {kernel(0, 5'000'000'200, 5'000'000'701, 0, 7), kernel(1, 5'000'000'300, 5'000'000'400, -1, 13),
                   kernel(0, 0, 0, 0, 7)};
  trace.records[1].work = GpuWork::kCopy;
  GpuSample sample;
  sample.time_ns = 5'000'000'500;
  sample.sm_clock_mhz = 1380;
  GpuSample earlier = sample;
  earlier.time_ns = 4;
  const std::vector<GpuSample> both{earlier, sample};
  const auto json = nlohmann::json::parse(trace_json(trace, both, "a \"title\""));
  CHECK(json["otherData"]["title"] == "a \"title\"");
  std::map<std::string, int> phases;
  for (const auto& event : json["traceEvents"]) {
    ++phases[event["ph"].get<std::string>()];
    if (event["ph"] == "X") {
      CHECK(event["ts"].get<double>() >= 0);
      CHECK(event["dur"].get<double>() >= 0);
    }
  }
  CHECK(phases["X"] == 3);  // one scope, two records with a time
  CHECK(phases["C"] == 2);  // one sample inside the trace, clock and power
  CHECK(phases["M"] == 4);  // host, GPU 0 and its two streams
  const auto found = std::find_if(json["traceEvents"].begin(), json["traceEvents"].end(),
                                  [](const auto& e) { return e.value("cat", "") == "kernel"; });
  REQUIRE(found != json["traceEvents"].end());
  CHECK((*found)["dur"].get<double>() == Approx(0.501));
  CHECK((*found)["ts"].get<double>() == Approx(0.077));
  CHECK((*found)["args"]["layer"] == 0);
  CHECK((*found)["args"]["route"] == "sliding");
  CHECK((*found)["tid"] == 7);
  CHECK(nlohmann::json::parse(trace_json({}, {}, ""))["traceEvents"].size() == 1);
}

TEST_CASE("a trial after a long steady load is sustained, one from rest is burst", "[harness][gpu_sampler]") {
  const auto load = samples(100, 60, settling, 1.0);
  CHECK(power_regime(load, 130 * kSecond, 140 * kSecond) == PowerRegime::kSustained);
  CHECK(power_regime(load, 100 * kSecond, 110 * kSecond) == PowerRegime::kBurst);
  // Begins before the load has settled, and less than nine tenths come after.
  CHECK(power_regime(load, 110 * kSecond, 150 * kSecond) == PowerRegime::kBurst);
  // The same beginning, but so long that settling is a small part.
  const auto long_load = samples(100, 400, settling, 1.0);
  CHECK(power_regime(long_load, 110 * kSecond, 490 * kSecond) == PowerRegime::kSustained);
}

TEST_CASE("a rest of two seconds starts the settling anew", "[harness][gpu_sampler]") {
  const auto idle = [](double) { return 1980.0; };
  const auto with_rest =
      joined(joined(samples(100, 30, settling, 1.0), samples(130, 3, idle, 0.0)), samples(133, 10, settling, 1.0));
  CHECK(power_regime(with_rest, 134 * kSecond, 142 * kSecond) == PowerRegime::kBurst);
  const auto short_rest = joined(joined(samples(100, 30, settling, 1.0), samples(130, 1, idle, 0.0)),
                                 samples(131, 12, [](double) { return 1380.0; }, 1.0));
  CHECK(power_regime(short_rest, 132 * kSecond, 142 * kSecond) == PowerRegime::kSustained);
}

TEST_CASE("clocks that still move are not sustained however long the load", "[harness][gpu_sampler]") {
  const auto drifting = samples(0, 60, [](double s) { return 1900 - 10 * s; }, 1.0);
  CHECK(power_regime(drifting, 40 * kSecond, 55 * kSecond) == PowerRegime::kBurst);
}

TEST_CASE("without a sample inside the trial the regime is unknown", "[harness][gpu_sampler]") {
  CHECK(power_regime({}, 0, kSecond) == PowerRegime::kUnknown);
  const auto load = samples(100, 10, settling, 1.0);
  CHECK(power_regime(load, 1, 2) == PowerRegime::kUnknown);
  const auto row = summarise_power({}, 0, kSecond, "gpu");
  CHECK(row.samples == 0);
  CHECK_FALSE(row.energy_j.has_value());
}

TEST_CASE("power is summarised over the trial alone", "[harness][gpu_sampler]") {
  const auto all = joined(
      samples(100, 10, [](double) { return 1000.0; }, 0.0), samples(110, 10, [](double s) { return 1400 + s; }, 1.0));
  const auto row = summarise_power(all, 110 * kSecond, 119 * kSecond + kSecond * 9 / 10, "gpu");
  CHECK(row.device == "gpu");
  CHECK(row.samples == 100);
  CHECK(row.median_sm_clock_mhz == Approx(1405).margin(0.1));
  CHECK(row.min_sm_clock_mhz == Approx(1400));
  CHECK(row.mean_power_w == Approx(690));
  CHECK(row.max_power_w == Approx(690));
  CHECK(row.throttle_reasons == "sw_power_cap 100 %");
  REQUIRE(row.energy_j.has_value());
  CHECK(summarise_power(all, 110 * kSecond, 111 * kSecond, "gpu").energy_j.has_value() == false);
}

TEST_CASE("processes beside the run's own are kept with the most memory they had", "[harness][gpu_sampler]") {
  auto all = samples(0, 10, [](double) { return 1000.0; }, 1.0);
  all[20].others = {{7, "python3", 100}, {9, "", 0}};
  all[30].others = {{7, "python3", 300}};
  all[80].others = {{8, "late", 1}};
  const auto row = summarise_power(all, kSecond, 5 * kSecond, "gpu");
  REQUIRE(row.others.size() == 2);
  CHECK(row.others[0].name == "python3");
  CHECK(row.others[0].peak_bytes == 300);
  CHECK(row.others[1].pid == 9);
  CHECK(summarise_power(all, 5 * kSecond, 6 * kSecond, "gpu").others.empty());
  CHECK(reports::to_string(reports::GpuProcessRow{7, "python3", int64_t{3} << 29}) == "python3 (process 7, 1.5 GiB)");
  CHECK(reports::to_string(reports::GpuProcessRow{9, "", 0}) == "a process (process 9)");
}

TEST_CASE("the run's own process is none of the others, in another namespace neither", "[harness][gpu_sampler]") {
  using Rows = std::vector<reports::GpuProcessRow>;
  CHECK(without_own({}, 5).empty());
  CHECK(without_own(Rows{{5, "vorta-bench", 1}}, 5).empty());
  const Rows other = without_own(Rows{{4, "python3", 1}, {5, "vorta-bench", 1}}, 5);
  REQUIRE(other.size() == 1);
  CHECK(other[0].name == "python3");
  CHECK(without_own(Rows{{900, "init", 1}}, 5).empty());  // ours under a number of the host
  const Rows hosts = without_own(Rows{{900, "init", 1}, {901, "cron", 1}}, 5);
  REQUIRE(hosts.size() == 1);
  CHECK(hosts[0].name.empty());
}

TEST_CASE("workers share the GPUs that a user left visible", "[harness][degrade]") {
  using Names = std::vector<std::string>;
  CHECK(visible_gpus(nullptr, 2) == Names{"0", "1"});
  CHECK(visible_gpus("3,GPU-5e", 2) == Names{"3", "GPU-5e"});
  CHECK(visible_gpus("", 2).empty());
  CHECK(visible_gpus("0,1,2", 1) == Names{"0"});  // the driver stops at the first that is not there
}

TEST_CASE("energy is interpolated between samples", "[harness][gpu_sampler]") {
  std::vector<GpuSample> two(2);
  two[0].time_ns = 0, two[0].energy_mj = 0;
  two[1].time_ns = 10 * kSecond, two[1].energy_mj = 10'000;
  CHECK(*summarise_power(joined(two, {}), 0, 10 * kSecond, "").energy_j == Approx(10.0));
  CHECK(*summarise_power(joined(two, {}), 2 * kSecond, 10 * kSecond, "").energy_j == Approx(8.0));
}

TEST_CASE("throttle reasons have NVML's names, unknown bits their number", "[harness][gpu_sampler]") {
  CHECK(throttle_names(0).empty());
  CHECK(throttle_names(0x4 | 0x80) == std::vector<std::string>{"sw_power_cap", "hw_power_brake_slowdown"});
  CHECK(throttle_names(0x1000) == std::vector<std::string>{"bit 12"});
}

TEST_CASE("a sampler reads at its start and when asked, and tells when the GPU is lost", "[harness][gpu_sampler]") {
  const std::chrono::hours never(1);  // only the readings at the start and in samples()
  GpuSampler sampler(std::make_unique<ScriptedGpu>(2), never);
  CHECK(sampler.device() == "scripted");
  const auto two = sampler.samples();
  REQUIRE(two.size() == 2);
  CHECK(two[1].time_ns >= two[0].time_ns);
  CHECK(sampler.failure().empty());
  CHECK(sampler.samples().size() == 2);
  CHECK(sampler.failure().find("after 2 samples") != std::string::npos);
  CHECK(sampler.failure().find("GPU is lost") != std::string::npos);
}

TEST_CASE("NVTX titles read well in a timeline", "[harness][scopes]") {
  CHECK(nvtx_title("stage/denoise") == "denoise");
  CHECK(nvtx_title("step/3") == "step 3");
  CHECK(nvtx_title("vorta::layer/7") == "layer 7");
  CHECK(nvtx_title("vorta::self_attention") == "self_attention");
  CHECK(nvtx_title("vorta::route/sliding") == "sliding heads");
  NvtxScopes scopes;  // no tool listens: nothing happens
  scopes.scope_begin("step/0");
  scopes.scope_end();
}

TEST_CASE("without a GPU every probe gives one line and no error", "[harness][degrade]") {
  const CuptiStart cupti = CuptiSession::start();
  if (cupti.session) {
    WARN("skipped: this machine has a GPU");
    return;
  }
  const std::string counters = CounterSession::start().refusal, power = open_nvml().refusal;
  for (const std::string& line : {cupti.refusal, counters, power}) {
    INFO(line);
    CHECK_FALSE(line.empty());
    CHECK(line.find('\n') == std::string::npos);
  }
}

TEST_CASE("the work counters fit one pass on each chip of the table, planned without a GPU",
          "[harness][counter_plan]") {
  const std::vector<std::string> chips = plannable_chips();
  if (chips.empty()) {
    WARN("skipped: " << plan_counters("GH100", work_metrics("GH100")).refusal);
    return;
  }
  int64_t known = 0;
  for (const std::string& chip : chips) {
    if (work_metrics(chip).empty()) continue;
    ++known;
    const CounterPlan plan = plan_counters(chip, work_metrics(chip));
    INFO(chip << " " << plan.refusal);
    CHECK(plan.refusal.empty());
    CHECK(plan.passes == 1);
    CHECK_FALSE(plan.config_image.empty());
  }
  CHECK(known >= 15);
  CHECK(plan_counters("GH100", {"sm__throughput.avg.pct_of_peak_sustained_elapsed"}).passes > 1);
}

TEST_CASE("an unknown chip or metric is refused by name", "[harness][counter_plan]") {
  if (plannable_chips().empty()) {
    WARN("skipped: libcupti.so.13 is not here");
    return;
  }
  CHECK(plan_counters("GX999", {"dram__bytes_read.sum"}).refusal.find("GX999") != std::string::npos);
  CHECK(plan_counters("GH100", {"dram__bytes_read.sum", "no__such.sum"}).refusal.find("no__such.sum") !=
        std::string::npos);
  CHECK_FALSE(plan_counters("GH100", {}).refusal.empty());
  CHECK(work_metrics("GX999").empty());
}

TEST_CASE("steps and the stages around them are counted, layers are not", "[harness][counter_plan]") {
  CHECK(is_counted_scope("step/0"));
  CHECK(is_counted_scope("stage/vae"));
  CHECK_FALSE(is_counted_scope("stage/denoise"));
  CHECK_FALSE(is_counted_scope("vorta::layer/1"));
}

TEST_CASE("counters are refused only to users whom the driver shuts out", "[harness][degrade]") {
  CHECK(counter_refusal("RmProfilingAdminOnly: 0\n", false).empty());
  CHECK(counter_refusal("RmProfilingAdminOnly: 1\n", true).empty());
  CHECK(counter_refusal("", false).empty());
  CHECK_FALSE(counter_refusal("ResmanDebugLevel: 1\nRmProfilingAdminOnly: 1\n", false).empty());
}

TEST_CASE("a watch that can see nothing leaves an empty profile with a note", "[harness][degrade]") {
  GpuWatch watch;
  watch.scope_begin("stage/denoise");
  watch.scope_begin("step/0");
  watch.scope_end();
  watch.scope_end();
  const GpuWatch::Seen seen = watch.finish();
  CHECK(seen.profile.kernel_count == 0);
  const GpuCapability found = inspect_gpu_probes();
  if (found.kernels.empty()) {
    WARN("skipped: this machine has a GPU");
    return;
  }
  CHECK(seen.trace.records.empty());
  CHECK(seen.profile.note == "no kernel records: " + found.kernels);
  CHECK_FALSE(found.counters.empty());
  CHECK_FALSE(found.power.empty());
}
