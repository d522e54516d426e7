// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/trace_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace vorta::harness {
namespace {

constexpr int64_t kHostProcess = 0;  // process ids of the trace: the host, then one for each GPU
constexpr int64_t kFirstGpuProcess = 1;

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Nanoseconds as microseconds with all their digits: a double would lose them after some hours.
std::string micros(int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

const char* category(GpuWork work) {
  switch (work) {
    case GpuWork::kKernel: return "kernel";
    case GpuWork::kCopy: return "copy";
    case GpuWork::kFill: return "fill";
  }
  return "";
}

class Writer {
 public:
  Writer(const GpuTrace& trace, std::span<const GpuSample> samples) : trace_(trace), samples_(samples) {
    int64_t first = std::numeric_limits<int64_t>::max();
    for (const Scope& scope : trace.scopes) first = std::min(first, scope.begin_ns);
    for (const GpuRecord& record : trace.records) {
      if (record.begin_ns > 0) first = std::min(first, record.begin_ns);
    }
    // Counter samples reach back into the warm-up; the trace begins with its first event.
    origin_ns_ = first == std::numeric_limits<int64_t>::max() ? 0 : first;
  }

  std::string write(const std::string& title) {
    write_names();
    for (const Scope& scope : trace_.scopes) write_scope(scope);
    for (const GpuRecord& record : trace_.records) write_record(record);
    for (const GpuSample& sample : samples_) write_sample(sample);
    return fmt::format(
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"title\":{},\"dropped_records\":{}}},\"traceEvents\":[\n{}\n]}}"
        "\n",
        quoted(title), trace_.dropped_records, events_);
  }

 private:
  void event(const std::string& text) {
    if (!events_.empty()) events_ += ",\n";
    events_ += text;
  }

  void name(const char* what, int64_t process, int64_t thread, const std::string& text) {
    event(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})", what, process, thread,
                      quoted(text)));
  }

  void write_names() {
    std::set<std::pair<int64_t, int64_t>> streams;
    for (const GpuRecord& record : trace_.records) streams.insert({record.device, record.stream});
    name("process_name", kHostProcess, 0, "host: scopes");
    int64_t device = -1;
    for (const auto& [gpu, stream] : streams) {
      if (gpu != device) name("process_name", kFirstGpuProcess + gpu, 0, fmt::format("GPU {}", gpu));
      device = gpu;
      name("thread_name", kFirstGpuProcess + gpu, stream, fmt::format("stream {}", stream));
    }
  }

  void write_scope(const Scope& scope) {
    event(fmt::format(R"({{"ph":"X","cat":"scope","name":{},"pid":{},"tid":0,"ts":{},"dur":{}}})", quoted(scope.name),
                      kHostProcess, micros(scope.begin_ns - origin_ns_),
                      micros(std::max<int64_t>(scope.end_ns - scope.begin_ns, 0))));
  }

  void write_record(const GpuRecord& record) {
    if (record.begin_ns <= 0 || record.end_ns < record.begin_ns) return;
    const Place place = trace_.place(record);
    event(fmt::format(R"({{"ph":"X","cat":"{}","name":{},"pid":{},"tid":{},"ts":{},"dur":{},)"
                      R"("args":{{"stage":{},"step":{},"layer":{},)"
                      R"("part":{},"route":{},"bytes":{}}}}})",
                      category(record.work), quoted(trace_.names.at(static_cast<size_t>(record.name))),
                      kFirstGpuProcess + record.device, record.stream, micros(record.begin_ns - origin_ns_),
                      micros(record.end_ns - record.begin_ns), quoted(place.stage), place.step, place.layer,
                      quoted(place.part), quoted(place.route), record.bytes));
  }

  void write_sample(const GpuSample& sample) {
    if (sample.time_ns < origin_ns_) return;
    const std::string time = micros(sample.time_ns - origin_ns_);
    event(fmt::format(R"({{"ph":"C","name":"SM clock, MHz","pid":{},"tid":0,"ts":{},"args":{{"MHz":{}}}}})",
                      kHostProcess, time, sample.sm_clock_mhz));
    event(fmt::format(R"({{"ph":"C","name":"power, W","pid":{},"tid":0,"ts":{},"args":{{"W":{}}}}})", kHostProcess,
                      time, sample.power_w));
  }

  const GpuTrace& trace_;
  std::span<const GpuSample> samples_;
  int64_t origin_ns_ = 0;
  std::string events_;
};

}  // namespace

std::string trace_json(const GpuTrace& trace, std::span<const GpuSample> samples, const std::string& title) {
  return Writer(trace, samples).write(title);
}

}  // namespace vorta::harness
