// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/gpu_summary.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace vorta::harness {
namespace {

struct Interval {
  int64_t begin = 0;
  int64_t end = 0;
};

bool is_timed(const GpuRecord& record) { return record.begin_ns > 0 && record.end_ns >= record.begin_ns; }

// Nanoseconds during which at least one interval ran.
int64_t length_of_union(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  int64_t total = 0, reached = 0;
  for (const Interval& interval : intervals) {
    const int64_t begin = std::max(interval.begin, reached);
    if (interval.end <= begin) continue;
    total += interval.end - begin;
    reached = interval.end;
  }
  return total;
}

struct Kernels {
  std::vector<int64_t> durations;  // ns
  int64_t total = 0;
  ScopeWork work;
  void add(int64_t ns) {
    durations.push_back(ns);
    total += ns;
  }
};

struct KernelKey {
  int64_t name = -1;
  std::string part, route;
  auto operator<=>(const KernelKey&) const = default;
};

// The kernel that does an operator's work, so far.
struct Worker {
  Kernels* kernels = nullptr;  // in a std::map: it stays where it is
  int64_t ns = -1;
};

struct StepSum {
  reports::GpuStepRow row;
  std::vector<Interval> intervals;
  int64_t first = 0, last = 0;
};

class Summary {
 public:
  explicit Summary(const GpuTrace& trace) : trace_(trace) {}

  reports::GpuProfile make() {
    profile_.dropped_records = trace_.dropped_records;
    for (const GpuRecord& record : trace_.records) add(record);
    profile_.busy_ns = length_of_union(std::move(all_));
    share_out_work();
    for (auto& [key, kernels] : kernels_) profile_.kernels.push_back(kernel_row(key, kernels));
    std::stable_sort(profile_.kernels.begin(), profile_.kernels.end(),
                     [](const auto& a, const auto& b) { return a.total_ns > b.total_ns; });
    for (auto& [place, row] : places_) profile_.places.push_back(std::move(row));
    for (auto& [step, sum] : steps_) {
      sum.row.busy_ns = length_of_union(std::move(sum.intervals));
      sum.row.span_ns = sum.last - sum.first;
      profile_.steps.push_back(sum.row);
    }
    return std::move(profile_);
  }

 private:
  void add(const GpuRecord& record) {
    if (!is_timed(record)) {
      ++profile_.untimed_records;
      return;
    }
    const int64_t ns = record.end_ns - record.begin_ns;
    all_.push_back({record.begin_ns, record.end_ns});
    if (record.work != GpuWork::kKernel) {
      ++profile_.copies;
      profile_.copy_ns += ns;
      profile_.copy_bytes += record.bytes;
    } else {
      ++profile_.kernel_count;
      profile_.kernel_ns += ns;
    }
    const Place place = trace_.place(record);
    if (place.step >= 0) add_to_step(record, place, ns);
    if (record.work != GpuWork::kKernel) return;
    if (place.is_nowhere()) profile_.unattributed_ns += ns;
    Kernels& same = kernels_[{record.name, place.part, place.route}];
    same.add(ns);
    note_operator(record, same, ns);
    reports::GpuPlaceRow& row = places_[place];
    row.stage = place.stage, row.step = place.step, row.layer = place.layer, row.part = place.part,
    row.route = place.route;
    ++row.kernels;
    row.total_ns += ns;
  }

  // The outermost operator around a scope whose work is known (it counts what it calls inside); -1: none.
  int64_t operator_of(int64_t scope) const {
    int64_t found = -1;
    for (; scope >= 0; scope = trace_.scopes.at(static_cast<size_t>(scope)).parent) {
      if (trace_.scopes.at(static_cast<size_t>(scope)).work.is_known()) found = scope;
    }
    return found;
  }

  // An operator may launch helpers around the kernel that does its work: the longest one counts.
  void note_operator(const GpuRecord& record, Kernels& kernels, int64_t ns) {
    const int64_t where = record.capture_scope >= 0 ? record.capture_scope : record.scope;
    const int64_t which = operator_of(where);
    if (which < 0) return;
    const int64_t replay = record.capture_scope >= 0 ? record.scope : -1;  // a graph's node works once for each
    Worker& worker = workers_[{which, replay}];
    if (ns < worker.ns) return;
    worker = {&kernels, ns};
  }

  void share_out_work() {
    for (const auto& [call, worker] : workers_) {
      const ScopeWork& work = trace_.scopes.at(static_cast<size_t>(call.first)).work;
      worker.kernels->work.flops += work.flops;
      worker.kernels->work.bytes += work.bytes;
    }
  }

  void add_to_step(const GpuRecord& record, const Place& place, int64_t ns) {
    StepSum& sum = steps_[place.step];
    if (sum.intervals.empty()) sum.first = record.begin_ns;
    sum.first = std::min(sum.first, record.begin_ns);
    sum.last = std::max(sum.last, record.end_ns);
    sum.intervals.push_back({record.begin_ns, record.end_ns});
    sum.row.step = place.step;
    if (record.work != GpuWork::kKernel) return;
    ++sum.row.kernels;
    sum.row.kernel_ns += ns;
    if (place.layer >= 0) sum.row.layer_ns += ns;
  }

  reports::GpuKernelRow kernel_row(const KernelKey& key, Kernels& kernels) const {
    std::vector<int64_t>& ns = kernels.durations;
    std::sort(ns.begin(), ns.end());
    reports::GpuKernelRow row{
        .name = trace_.names.at(static_cast<size_t>(key.name)), .part = key.part, .route = key.route};
    row.calls = static_cast<int64_t>(ns.size());
    row.total_ns = kernels.total;
    row.min_ns = ns.front();
    row.median_ns = ns[ns.size() / 2];
    row.max_ns = ns.back();
    row.flops = kernels.work.flops;
    row.bytes = kernels.work.bytes;
    return row;
  }

  const GpuTrace& trace_;
  reports::GpuProfile profile_;
  std::vector<Interval> all_;
  std::map<KernelKey, Kernels> kernels_;
  std::map<std::pair<int64_t, int64_t>, Worker> workers_;  // by operator and replay of a graph, else -1
  std::map<Place, reports::GpuPlaceRow> places_;
  std::map<int64_t, StepSum> steps_;
};

}  // namespace

reports::GpuProfile summarise_trace(const GpuTrace& trace) { return Summary(trace).make(); }

}  // namespace vorta::harness
