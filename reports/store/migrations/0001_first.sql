-- Schema 1. Times are integer nanoseconds; numbers carry their unit in the name; JSON columns hold objects.
CREATE TABLE environment (
  environment_id INTEGER PRIMARY KEY,
  identity_hash TEXT NOT NULL UNIQUE,
  identity_json TEXT NOT NULL CHECK (json_valid(identity_json)),
  volatile_json TEXT NOT NULL CHECK (json_valid(volatile_json))
) STRICT;

CREATE TABLE run (
  run_id INTEGER PRIMARY KEY,
  environment_id INTEGER NOT NULL REFERENCES environment,
  suite TEXT NOT NULL,
  title TEXT NOT NULL,
  suite_hash TEXT NOT NULL,
  suite_json TEXT NOT NULL CHECK (json_valid(suite_json)),
  argv_json TEXT NOT NULL CHECK (json_valid(argv_json)),
  model_json TEXT NOT NULL CHECK (json_valid(model_json)),
  reference_variant TEXT NOT NULL,
  tool_version TEXT NOT NULL,
  notes TEXT NOT NULL,
  started_unix_ns INTEGER NOT NULL,
  ended_unix_ns INTEGER,
  resumed_count INTEGER NOT NULL DEFAULT 0,
  UNIQUE (suite_hash, environment_id)
) STRICT;

CREATE TABLE claim (
  run_id INTEGER NOT NULL REFERENCES run,
  key TEXT NOT NULL,
  sentence TEXT NOT NULL,
  quantity TEXT NOT NULL,
  variant TEXT NOT NULL,
  reference TEXT NOT NULL,
  at_least REAL,
  at_most REAL,
  PRIMARY KEY (run_id, key)
) STRICT;

CREATE TABLE published (
  run_id INTEGER NOT NULL REFERENCES run,
  ordinal INTEGER NOT NULL,
  sentence TEXT NOT NULL,
  value TEXT NOT NULL,
  setting TEXT NOT NULL,
  source TEXT NOT NULL,
  PRIMARY KEY (run_id, ordinal)
) STRICT;

CREATE TABLE case_row (
  case_id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run,
  case_hash TEXT NOT NULL,
  variant TEXT NOT NULL,
  description TEXT NOT NULL,
  params_json TEXT NOT NULL CHECK (json_valid(params_json)),
  ordinal INTEGER NOT NULL,
  UNIQUE (run_id, case_hash)
) STRICT;

CREATE TABLE prompt (
  prompt_id INTEGER PRIMARY KEY,
  text TEXT NOT NULL,
  negative_text TEXT NOT NULL,
  tags_json TEXT NOT NULL CHECK (json_valid(tags_json)),
  UNIQUE (text, negative_text)
) STRICT;

-- The pairing key: the same prompt and the same noise.
CREATE TABLE item (
  item_id INTEGER PRIMARY KEY,
  prompt_id INTEGER NOT NULL REFERENCES prompt,
  seed INTEGER NOT NULL,
  UNIQUE (prompt_id, seed)
) STRICT;

CREATE TABLE trial (
  trial_id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run,
  case_id INTEGER NOT NULL REFERENCES case_row,
  item_id INTEGER NOT NULL REFERENCES item,
  role TEXT NOT NULL CHECK (role IN ('timing', 'profile', 'quality', 'warmup')),
  repeat INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('running', 'ok', 'failed', 'skipped', 'interrupted')),
  detail TEXT NOT NULL DEFAULT '',
  started_unix_ns INTEGER NOT NULL,
  ended_unix_ns INTEGER,
  UNIQUE (run_id, case_id, item_id, role, repeat, attempt)
) STRICT;

CREATE TABLE sample (
  trial_id INTEGER NOT NULL REFERENCES trial,
  idx INTEGER NOT NULL,
  stage TEXT NOT NULL,
  step INTEGER NOT NULL,
  host_ns INTEGER NOT NULL CHECK (host_ns >= 0),
  live_bytes INTEGER,
  PRIMARY KEY (trial_id, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_peak (
  trial_id INTEGER NOT NULL REFERENCES trial,
  scope TEXT NOT NULL,
  peak_bytes INTEGER NOT NULL,
  PRIMARY KEY (trial_id, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE error (
  trial_id INTEGER PRIMARY KEY REFERENCES trial,
  kind TEXT NOT NULL,
  message TEXT NOT NULL,
  stage TEXT NOT NULL,
  step INTEGER NOT NULL
) STRICT;

CREATE TABLE range_agg (
  trial_id INTEGER NOT NULL REFERENCES trial,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  layer INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  self_ns INTEGER NOT NULL,
  total_ns INTEGER NOT NULL,
  flops REAL,
  PRIMARY KEY (trial_id, kind, name, layer)
) STRICT, WITHOUT ROWID;

CREATE TABLE route_stat (
  run_id INTEGER NOT NULL REFERENCES run,
  case_id INTEGER NOT NULL REFERENCES case_row,
  step INTEGER NOT NULL,
  layer INTEGER NOT NULL,
  dense_heads INTEGER NOT NULL,
  coreset_heads INTEGER NOT NULL,
  sliding_heads INTEGER NOT NULL,
  PRIMARY KEY (run_id, case_id, step, layer)
) STRICT, WITHOUT ROWID;

-- steps x layers x heads branch numbers, one byte each: 0 dense, 1 coreset, 2 sliding tile.
CREATE TABLE route_table (
  run_id INTEGER NOT NULL REFERENCES run,
  case_id INTEGER NOT NULL REFERENCES case_row,
  branches BLOB NOT NULL,
  PRIMARY KEY (run_id, case_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE prediction (
  run_id INTEGER NOT NULL REFERENCES run,
  case_id INTEGER NOT NULL REFERENCES case_row,
  quantity TEXT NOT NULL,
  unit TEXT NOT NULL,
  predicted REAL NOT NULL,
  measured REAL,
  PRIMARY KEY (run_id, case_id, quantity)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric_def (
  metric_key TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  direction TEXT NOT NULL CHECK (direction IN ('higher', 'lower', 'target')),
  family TEXT NOT NULL,
  version TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE metric_score (
  trial_id INTEGER NOT NULL REFERENCES trial,
  metric_key TEXT NOT NULL REFERENCES metric_def,
  value REAL,
  detail TEXT NOT NULL,
  PRIMARY KEY (trial_id, metric_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE artefact (
  artefact_id INTEGER PRIMARY KEY,
  trial_id INTEGER NOT NULL REFERENCES trial,
  kind TEXT NOT NULL,
  path TEXT NOT NULL,
  mime TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  UNIQUE (trial_id, kind, path)
) STRICT;

CREATE INDEX trial_by_case ON trial (run_id, case_id, role, status);
