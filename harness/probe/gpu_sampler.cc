// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_sampler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/base/error.h"
#include "harness/probe/scope_log.h"

namespace vorta::harness {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kSettling = 15 * kSecond;   // an H100 needs 10 to 15 s
constexpr int64_t kRest = 2 * kSecond;        // enough to bring burst clocks back
constexpr int64_t kSlopeWindow = 5 * kSecond;
constexpr double kMostDrift = 0.01;           // of the 1-s means of the clock over kSlopeWindow
constexpr double kBusy = 0.5;                 // utilisation of a GPU under load
constexpr double kSettledShare = 0.9;
constexpr int64_t kShortestEnergy = 2 * kSecond;

// Bits of nvmlDeviceGetCurrentClocksEventReasons, in NVML's own words.
constexpr std::array<const char*, 9> kThrottleNames{"gpu_idle",
                                                    "applications_clocks_setting",
                                                    "sw_power_cap",
                                                    "hw_slowdown",
                                                    "sync_boost",
                                                    "sw_thermal_slowdown",
                                                    "hw_thermal_slowdown",
                                                    "hw_power_brake_slowdown",
                                                    "display_clock_setting"};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::span<const GpuSample> inside(std::span<const GpuSample> samples, int64_t begin_ns, int64_t end_ns) {
  const auto first = std::lower_bound(samples.begin(), samples.end(), begin_ns,
                                      [](const auto& s, int64_t t) { return s.time_ns < t; });
  const auto last =
      std::upper_bound(first, samples.end(), end_ns, [](int64_t t, const auto& s) { return t < s.time_ns; });
  return samples.subspan(static_cast<size_t>(first - samples.begin()), static_cast<size_t>(last - first));
}

// Largest over smallest 1-s mean of the SM clock in the five seconds before `end_ns`, less 1.
std::optional<double> clock_drift(std::span<const GpuSample> samples, int64_t end_ns) {
  double low = 0, high = 0;
  for (int64_t begin = end_ns - kSlopeWindow; begin < end_ns; begin += kSecond) {
    const auto second = inside(samples, begin, begin + kSecond - 1);
    if (second.empty()) return std::nullopt;
    double sum = 0;
    for (const GpuSample& sample : second) sum += sample.sm_clock_mhz;
    const double mean = sum / static_cast<double>(second.size());
    low = low == 0 ? mean : std::min(low, mean);
    high = std::max(high, mean);
  }
  if (low <= 0) return std::nullopt;
  return high / low - 1;
}

// First moment at which the load that goes on until `end_ns` had settled.
std::optional<int64_t> settled_at(std::span<const GpuSample> samples, int64_t end_ns) {
  std::optional<int64_t> load_begin, last_busy;
  std::optional<int64_t> settled;
  for (const GpuSample& sample : samples) {
    if (sample.time_ns > end_ns) break;
    if (sample.utilisation >= kBusy) {
      if (!last_busy || sample.time_ns - *last_busy >= kRest) {
        load_begin = sample.time_ns;
        settled.reset();
      }
      last_busy = sample.time_ns;
    }
    if (settled || !load_begin || sample.time_ns - *load_begin < kSettling) continue;
    const auto drift = clock_drift(samples, sample.time_ns);
    if (drift && *drift < kMostDrift) settled = sample.time_ns;
  }
  if (!last_busy || end_ns - *last_busy >= kRest) return std::nullopt;  // at rest when the trial ended
  return settled;
}

// NVML's counter at a moment between two samples.
double energy_mj_at(std::span<const GpuSample> samples, int64_t time_ns) {
  const auto after =
      std::lower_bound(samples.begin(), samples.end(), time_ns, [](const auto& s, int64_t t) { return s.time_ns < t; });
  if (after == samples.begin()) return static_cast<double>(samples.front().energy_mj);
  if (after == samples.end()) return static_cast<double>(samples.back().energy_mj);
  const auto before = after - 1;
  const double share =
      static_cast<double>(time_ns - before->time_ns) / static_cast<double>(after->time_ns - before->time_ns);
  return static_cast<double>(before->energy_mj) + share * static_cast<double>(after->energy_mj - before->energy_mj);
}

std::string throttle_text(std::span<const GpuSample> samples) {
  std::vector<std::pair<int64_t, std::string>> counts;
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t mask = uint64_t{1} << bit;
    const auto count = std::count_if(samples.begin(), samples.end(),
                                     [mask](const auto& s) { return (s.throttle_reasons & mask) != 0; });
    if (count > 0) counts.emplace_back(count, throttle_names(mask).front());
  }
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> words;
  for (const auto& [count, name] : counts) {
    words.push_back(
        fmt::format("{} {:.0f} %", name, 100.0 * static_cast<double>(count) / static_cast<double>(samples.size())));
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

// Of all samples, each process once with the most memory that it was seen with.
std::vector<reports::GpuProcessRow> others_in(std::span<const GpuSample> samples) {
  std::map<int64_t, reports::GpuProcessRow> seen;
  for (const GpuSample& sample : samples) {
    for (const reports::GpuProcessRow& process : sample.others) {
      reports::GpuProcessRow& row = seen.try_emplace(process.pid, process).first->second;
      row.peak_bytes = std::max(row.peak_bytes, process.peak_bytes);
    }
  }
  std::vector<reports::GpuProcessRow> rows;
  for (auto& [pid, row] : seen) rows.push_back(std::move(row));
  return rows;
}

}  // namespace

std::vector<reports::GpuProcessRow> without_own(std::vector<reports::GpuProcessRow> listed, int64_t own) {
  if (std::erase_if(listed, [own](const auto& process) { return process.pid == own; }) > 0 || listed.empty())
    return listed;
  listed.pop_back();
  for (reports::GpuProcessRow& process : listed) process.name.clear();
  return listed;
}

std::vector<std::string> throttle_names(uint64_t bits) {
  std::vector<std::string> names;
  for (int bit = 0; bit < 64; ++bit) {
    if ((bits >> bit & 1) == 0) continue;
    names.push_back(bit < static_cast<int>(kThrottleNames.size()) ? kThrottleNames[static_cast<size_t>(bit)]
                                                                  : fmt::format("bit {}", bit));
  }
  return names;
}

reports::PowerRegime power_regime(std::span<const GpuSample> samples, int64_t begin_ns, int64_t end_ns) {
  if (end_ns <= begin_ns || inside(samples, begin_ns, end_ns).empty()) return reports::PowerRegime::kUnknown;
  const auto settled = settled_at(samples, end_ns);
  if (!settled) return reports::PowerRegime::kBurst;
  const auto after = static_cast<double>(end_ns - std::max(*settled, begin_ns));
  return after >= kSettledShare * static_cast<double>(end_ns - begin_ns) ? reports::PowerRegime::kSustained
                                                                         : reports::PowerRegime::kBurst;
}

reports::GpuPowerRow summarise_power(std::span<const GpuSample> samples, int64_t begin_ns, int64_t end_ns,
                                     std::string_view device) {
  reports::GpuPowerRow row;
  row.device = device;
  const auto trial = inside(samples, begin_ns, end_ns);
  row.samples = static_cast<int64_t>(trial.size());
  row.regime = power_regime(samples, begin_ns, end_ns);
  if (trial.empty()) return row;
  std::vector<double> clocks;
  for (const GpuSample& sample : trial) {
    clocks.push_back(sample.sm_clock_mhz);
    row.mean_power_w += sample.power_w / static_cast<double>(trial.size());
    row.max_power_w = std::max(row.max_power_w, sample.power_w);
    row.max_temperature_c = std::max(row.max_temperature_c, sample.temperature_c);
  }
  row.min_sm_clock_mhz = *std::min_element(clocks.begin(), clocks.end());
  row.max_sm_clock_mhz = *std::max_element(clocks.begin(), clocks.end());
  row.median_sm_clock_mhz = median(std::move(clocks));
  row.throttle_reasons = throttle_text(trial);
  row.others = others_in(trial);
  if (end_ns - begin_ns >= kShortestEnergy)
    row.energy_j = (energy_mj_at(samples, end_ns) - energy_mj_at(samples, begin_ns)) * 1e-3;
  return row;
}

struct GpuSampler::State {
  std::unique_ptr<GpuReader> reader;
  std::string device;
  std::chrono::milliseconds period{};
  std::mutex mutex;  // guards everything below, and the reader
  std::condition_variable stop_wanted;
  bool is_stopping = false;
  std::vector<GpuSample> samples;
  std::string failure;  // the reader's, once it has failed
  std::thread thread;

  void sample() {
    if (!failure.empty()) return;
    try {
      GpuSample now = reader->read();
      now.time_ns = probe_clock_ns();
      samples.push_back(now);
    } catch (const MachineError& error) {
      failure = fmt::format("clocks and power end after {} samples: {}", samples.size(), error.what());
    }
  }

  void run() {
    std::unique_lock lock(mutex);
    while (!stop_wanted.wait_for(lock, period, [this] { return is_stopping; })) sample();
  }
};

GpuSampler::GpuSampler(std::unique_ptr<GpuReader> reader, std::chrono::milliseconds period)
    : state_(std::make_unique<State>()) {
  state_->device = reader->device_name();
  state_->reader = std::move(reader);
  state_->period = period;
  state_->sample();
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

GpuSampler::~GpuSampler() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_stopping = true;
  }
  state_->stop_wanted.notify_all();
  state_->thread.join();
}

std::vector<GpuSample> GpuSampler::samples() {
  const std::lock_guard lock(state_->mutex);
  state_->sample();
  return state_->samples;
}

std::string GpuSampler::failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure;
}

const std::string& GpuSampler::device() const { return state_->device; }

}  // namespace vorta::harness
