-- Schema 2: what a trial on a GPU leaves. Times are nanoseconds on the GPU; text columns are '' and numbers -1 where a
-- kernel ran outside such a place.
CREATE TABLE gpu_profile (
  trial_id INTEGER PRIMARY KEY REFERENCES trial,
  kernels INTEGER NOT NULL,
  kernel_ns INTEGER NOT NULL,
  copies INTEGER NOT NULL,
  copy_ns INTEGER NOT NULL,
  copy_bytes INTEGER NOT NULL,
  busy_ns INTEGER NOT NULL,
  unattributed_ns INTEGER NOT NULL,
  untimed_records INTEGER NOT NULL,
  dropped_records INTEGER NOT NULL,
  overhead REAL,
  note TEXT NOT NULL
) STRICT;

CREATE TABLE gpu_kernel (
  trial_id INTEGER NOT NULL REFERENCES trial,
  name TEXT NOT NULL,
  part TEXT NOT NULL,
  route TEXT NOT NULL,
  calls INTEGER NOT NULL CHECK (calls > 0),
  total_ns INTEGER NOT NULL CHECK (total_ns >= 0),
  min_ns INTEGER NOT NULL,
  median_ns INTEGER NOT NULL,
  max_ns INTEGER NOT NULL,
  PRIMARY KEY (trial_id, name, part, route)
) STRICT, WITHOUT ROWID;

CREATE TABLE gpu_place (
  trial_id INTEGER NOT NULL REFERENCES trial,
  stage TEXT NOT NULL,
  step INTEGER NOT NULL,
  layer INTEGER NOT NULL,
  part TEXT NOT NULL,
  route TEXT NOT NULL,
  kernels INTEGER NOT NULL,
  total_ns INTEGER NOT NULL,
  PRIMARY KEY (trial_id, stage, step, layer, part, route)
) STRICT, WITHOUT ROWID;

CREATE TABLE gpu_step (
  trial_id INTEGER NOT NULL REFERENCES trial,
  step INTEGER NOT NULL,
  kernels INTEGER NOT NULL,
  kernel_ns INTEGER NOT NULL,
  layer_ns INTEGER NOT NULL,
  busy_ns INTEGER NOT NULL,
  span_ns INTEGER NOT NULL,
  PRIMARY KEY (trial_id, step)
) STRICT, WITHOUT ROWID;

-- Hardware counters by scope ('step/3'); a metric is named as CUPTI names it.
CREATE TABLE gpu_counter (
  trial_id INTEGER NOT NULL REFERENCES trial,
  scope TEXT NOT NULL,
  metric TEXT NOT NULL,
  value REAL NOT NULL,
  PRIMARY KEY (trial_id, scope, metric)
) STRICT, WITHOUT ROWID;

-- Clocks and power of timed and profiled trials alike.
CREATE TABLE gpu_power (
  trial_id INTEGER PRIMARY KEY REFERENCES trial,
  device TEXT NOT NULL,
  samples INTEGER NOT NULL,
  median_sm_clock_mhz REAL NOT NULL,
  min_sm_clock_mhz REAL NOT NULL,
  max_sm_clock_mhz REAL NOT NULL,
  mean_power_w REAL NOT NULL,
  max_power_w REAL NOT NULL,
  max_temperature_c REAL NOT NULL,
  energy_j REAL,
  throttle_reasons TEXT NOT NULL,
  power_regime TEXT NOT NULL CHECK (power_regime IN ('unknown', 'burst', 'sustained'))
) STRICT;
