-- Schema 3: how a trial was made. Trials without a row are older: weights from files, every step of the schedule run.
CREATE TABLE trial_setup (
  trial_id INTEGER PRIMARY KEY REFERENCES trial,
  -- 'random': the configuration's shapes alone; such a trial says nothing about quality.
  weights TEXT NOT NULL CHECK (weights IN ('files', 'random')),
  -- Steps that ran, and those of the schedule. Where fewer ran, sample rows of the stage 'denoise_extrapolated' are scaled.
  timed_steps INTEGER NOT NULL,
  schedule_steps INTEGER NOT NULL,
  -- Forwards of the transformer a step: 2 with guidance.
  forwards INTEGER NOT NULL CHECK (forwards > 0),
  -- What computed the self attentions: 'grouped_attention/sm90, sdpa/cudnn'; '' where not known.
  attention_kernels TEXT NOT NULL,
  offload TEXT NOT NULL,
  quantization TEXT NOT NULL
) STRICT;

-- Work of the launches of a gpu_kernel row, as far as the operators around them state it: arithmetic, and bytes of
-- operands and results counted once.
CREATE TABLE gpu_kernel_work (
  trial_id INTEGER NOT NULL REFERENCES trial,
  name TEXT NOT NULL,
  part TEXT NOT NULL,
  route TEXT NOT NULL,
  flops REAL NOT NULL CHECK (flops >= 0),
  bytes REAL NOT NULL CHECK (bytes >= 0),
  PRIMARY KEY (trial_id, name, part, route)
) STRICT, WITHOUT ROWID;

-- What the GPU reached in the same run on work that does nothing else: 'bf16_flops', 'fp8_flops', 'copy_bytes', a second.
CREATE TABLE gpu_ceiling (
  trial_id INTEGER NOT NULL REFERENCES trial,
  quantity TEXT NOT NULL,
  per_second REAL NOT NULL CHECK (per_second > 0),
  PRIMARY KEY (trial_id, quantity)
) STRICT, WITHOUT ROWID;
