// SPDX-License-Identifier: Apache-2.0
#include "reports/store/gpu_store.h"

namespace vorta::reports {
namespace {

void insert_rows(const Database& database, int64_t trial, const GpuProfile& profile) {
  Statement kernel = database.prepare("INSERT INTO gpu_kernel VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const GpuKernelRow& row : profile.kernels) {
    kernel.bind(trial).bind(row.name).bind(row.part).bind(row.route).bind(row.calls).bind(row.total_ns);
    kernel.bind(row.min_ns).bind(row.median_ns).bind(row.max_ns).run();
  }
  Statement work = database.prepare("INSERT INTO gpu_kernel_work VALUES (?, ?, ?, ?, ?, ?)");
  for (const GpuKernelRow& row : profile.kernels) {
    if (row.flops <= 0 && row.bytes <= 0) continue;
    work.bind(trial).bind(row.name).bind(row.part).bind(row.route).bind(row.flops).bind(row.bytes).run();
  }
  Statement ceiling = database.prepare("INSERT INTO gpu_ceiling VALUES (?, ?, ?)");
  for (const GpuCeilingRow& row : profile.ceilings) ceiling.bind(trial).bind(row.quantity).bind(row.per_second).run();
  Statement place = database.prepare("INSERT INTO gpu_place VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const GpuPlaceRow& row : profile.places) {
    place.bind(trial).bind(row.stage).bind(row.step).bind(row.layer).bind(row.part).bind(row.route);
    place.bind(row.kernels).bind(row.total_ns).run();
  }
  Statement step = database.prepare("INSERT INTO gpu_step VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const GpuStepRow& row : profile.steps) {
    step.bind(trial)
        .bind(row.step)
        .bind(row.kernels)
        .bind(row.kernel_ns)
        .bind(row.layer_ns)
        .bind(row.busy_ns)
        .bind(row.span_ns)
        .run();
  }
  Statement counter = database.prepare("INSERT INTO gpu_counter VALUES (?, ?, ?, ?)");
  for (const GpuCounterRow& row : profile.counters)
    counter.bind(trial).bind(row.scope).bind(row.metric).bind(row.value).run();
}

// Work of kernels and ceilings, which databases of schema 2 have not.
void read_roofline(const Database& database, int64_t trial, GpuProfile& profile) {
  constexpr int64_t kRooflineSchema = 3;
  if (database.schema() < kRooflineSchema) return;
  Statement work = database.prepare("SELECT name, part, route, flops, bytes FROM gpu_kernel_work WHERE trial_id = ?");
  work.bind(trial);
  while (work.step()) {
    for (GpuKernelRow& row : profile.kernels) {
      if (row.name != work.text(0) || row.part != work.text(1) || row.route != work.text(2)) continue;
      row.flops = work.number(3);
      row.bytes = work.number(4);
    }
  }
  Statement ceiling =
      database.prepare("SELECT quantity, per_second FROM gpu_ceiling WHERE trial_id = ? ORDER BY quantity");
  ceiling.bind(trial);
  while (ceiling.step()) profile.ceilings.push_back({ceiling.text(0), ceiling.number(1)});
}

void read_rows(const Database& database, int64_t trial, GpuProfile& profile) {
  Statement kernel = database.prepare(
      "SELECT name, part, route, calls, total_ns, min_ns, median_ns, max_ns FROM gpu_kernel WHERE trial_id = ? ORDER "
      "BY total_ns "
      "DESC, name, part, route");
  kernel.bind(trial);
  while (kernel.step()) {
    profile.kernels.push_back({kernel.text(0), kernel.text(1), kernel.text(2), kernel.integer(3), kernel.integer(4),
                               kernel.integer(5), kernel.integer(6), kernel.integer(7)});
  }
  Statement place = database.prepare(
      "SELECT stage, step, layer, part, route, kernels, total_ns FROM gpu_place WHERE trial_id = ? ORDER BY stage, "
      "step, layer, part, "
      "route");
  place.bind(trial);
  while (place.step()) {
    profile.places.push_back({place.text(0), place.integer(1), place.integer(2), place.text(3), place.text(4),
                              place.integer(5), place.integer(6)});
  }
  Statement step = database.prepare(
      "SELECT step, kernels, kernel_ns, layer_ns, busy_ns, span_ns FROM gpu_step WHERE trial_id = ? ORDER BY step");
  step.bind(trial);
  while (step.step()) {
    profile.steps.push_back(
        {step.integer(0), step.integer(1), step.integer(2), step.integer(3), step.integer(4), step.integer(5)});
  }
  Statement counter =
      database.prepare("SELECT scope, metric, value FROM gpu_counter WHERE trial_id = ? ORDER BY scope, metric");
  counter.bind(trial);
  while (counter.step()) profile.counters.push_back({counter.text(0), counter.text(1), counter.number(2)});
}

}  // namespace

void insert_gpu(const Database& database, int64_t trial, const GpuResult& gpu) {
  if (gpu.profile) {
    const GpuProfile& row = *gpu.profile;
    Statement insert = database.prepare("INSERT INTO gpu_profile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(trial)
        .bind(row.kernel_count)
        .bind(row.kernel_ns)
        .bind(row.copies)
        .bind(row.copy_ns)
        .bind(row.copy_bytes);
    insert.bind(row.busy_ns)
        .bind(row.unattributed_ns)
        .bind(row.untimed_records)
        .bind(row.dropped_records)
        .bind(row.overhead);
    insert.bind(row.note).run();
    insert_rows(database, trial, row);
  }
  if (gpu.power) {
    const GpuPowerRow& row = *gpu.power;
    Statement insert = database.prepare("INSERT INTO gpu_power VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(trial).bind(row.device).bind(row.samples).bind(row.median_sm_clock_mhz).bind(row.min_sm_clock_mhz);
    insert.bind(row.max_sm_clock_mhz)
        .bind(row.mean_power_w)
        .bind(row.max_power_w)
        .bind(row.max_temperature_c)
        .bind(row.energy_j);
    insert.bind(row.throttle_reasons).bind(to_string(row.regime)).run();
    Statement other = database.prepare("INSERT INTO gpu_other_process VALUES (?, ?, ?, ?)");
    for (const GpuProcessRow& process : row.others)
      other.bind(trial).bind(process.pid).bind(process.name).bind(process.peak_bytes).run();
  }
}

std::optional<GpuProfile> read_gpu_profile(const Database& database, int64_t trial) {
  Statement query = database.prepare(
      "SELECT kernels, kernel_ns, copies, copy_ns, copy_bytes, busy_ns, unattributed_ns, untimed_records, "
      "dropped_records, overhead, "
      "note FROM gpu_profile WHERE trial_id = ?");
  query.bind(trial);
  if (!query.step()) return std::nullopt;
  GpuProfile profile;
  profile.kernel_count = query.integer(0);
  profile.kernel_ns = query.integer(1);
  profile.copies = query.integer(2);
  profile.copy_ns = query.integer(3);
  profile.copy_bytes = query.integer(4);
  profile.busy_ns = query.integer(5);
  profile.unattributed_ns = query.integer(6);
  profile.untimed_records = query.integer(7);
  profile.dropped_records = query.integer(8);
  profile.overhead = query.optional_number(9);
  profile.note = query.text(10);
  read_rows(database, trial, profile);
  read_roofline(database, trial, profile);
  return profile;
}

std::optional<GpuPowerRow> read_gpu_power(const Database& database, int64_t trial) {
  Statement query = database.prepare(
      "SELECT device, samples, median_sm_clock_mhz, min_sm_clock_mhz, max_sm_clock_mhz, mean_power_w, max_power_w, "
      "max_temperature_c, "
      "energy_j, throttle_reasons, power_regime FROM gpu_power WHERE trial_id = ?");
  query.bind(trial);
  if (!query.step()) return std::nullopt;
  GpuPowerRow row;
  row.device = query.text(0);
  row.samples = query.integer(1);
  row.median_sm_clock_mhz = query.number(2);
  row.min_sm_clock_mhz = query.number(3);
  row.max_sm_clock_mhz = query.number(4);
  row.mean_power_w = query.number(5);
  row.max_power_w = query.number(6);
  row.max_temperature_c = query.number(7);
  row.energy_j = query.optional_number(8);
  row.throttle_reasons = query.text(9);
  row.regime = parse_power_regime(query.text(10), database.path().string());
  if (database.schema() < kOthersSchema) return row;
  Statement other =
      database.prepare("SELECT pid, name, peak_bytes FROM gpu_other_process WHERE trial_id = ? ORDER BY pid");
  other.bind(trial);
  while (other.step()) row.others.push_back({other.integer(0), other.text(1), other.integer(2)});
  return row;
}

}  // namespace vorta::reports
