-- Schema 5: runs of many builds in one database, who works on a trial, and what a gate decided. Before it ran, the run
-- table lost UNIQUE (suite_hash, environment_id): see database.cc.
ALTER TABLE run ADD COLUMN run_key TEXT NOT NULL DEFAULT '';
UPDATE run SET run_key = substr(suite_hash, 1, 16) || '-' || started_unix_ns || '-' ||
  (SELECT substr(identity_hash, 1, 16) FROM environment e WHERE e.environment_id = run.environment_id);
CREATE UNIQUE INDEX run_by_key ON run (run_key);
-- What was built: commit, branch, whatever a caller says; empty where nobody did.
ALTER TABLE run ADD COLUMN build_json TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(build_json));
-- Why sampling ended: 'rounds used up', 'precision reached', ...
ALTER TABLE run ADD COLUMN stop_reason TEXT NOT NULL DEFAULT '';

-- A key that is the same in every copy of the database.
ALTER TABLE trial ADD COLUMN trial_key TEXT NOT NULL DEFAULT '';
UPDATE trial SET trial_key = (SELECT run_key FROM run WHERE run.run_id = trial.run_id) || '/' || trial_id || '/' || started_unix_ns;
CREATE UNIQUE INDEX trial_by_key ON trial (trial_key);
-- Process that works on it: "boot id/pid/start time". A running trial whose process is gone is interrupted.
ALTER TABLE trial ADD COLUMN owner TEXT NOT NULL DEFAULT '';
-- Place in the order of its round, from 0; -1 where nothing was ordered.
ALTER TABLE trial ADD COLUMN position INTEGER NOT NULL DEFAULT -1;
-- SHA-256 of the frames as eight-bit RGB.
ALTER TABLE trial ADD COLUMN output_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE artefact ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';

-- The run that a gate compares with, on one class of environments; the newest row of a name and class counts.
CREATE TABLE baseline (
  name TEXT NOT NULL,
  environment_class TEXT NOT NULL,
  run_key TEXT NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL,
  frozen_unix_ns INTEGER NOT NULL,
  PRIMARY KEY (name, environment_class, run_key, frozen_unix_ns)
) STRICT, WITHOUT ROWID;

-- A change that somebody wanted: from this run on, history has a new level.
CREATE TABLE accepted_change (
  run_key TEXT NOT NULL,
  variant TEXT NOT NULL,
  quantity TEXT NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL,
  accepted_unix_ns INTEGER NOT NULL,
  PRIMARY KEY (run_key, variant, quantity)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
  policy_hash TEXT PRIMARY KEY,
  policy_json TEXT NOT NULL CHECK (json_valid(policy_json))
) STRICT, WITHOUT ROWID;

-- Verdicts with what they were made of. Harm is positive: a share of the base, or the score's unit.
CREATE TABLE comparison (
  policy_hash TEXT NOT NULL REFERENCES policy,
  base_run_key TEXT NOT NULL,
  head_run_key TEXT NOT NULL,
  look INTEGER NOT NULL,
  variant TEXT NOT NULL,
  quantity TEXT NOT NULL,
  unit TEXT NOT NULL,
  base REAL,
  head REAL,
  harm REAL,
  harm_low REAL,
  harm_high REAL,
  p_adjusted REAL,
  detectable REAL,
  noise_floor REAL,
  units INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  outcome TEXT NOT NULL,
  words TEXT NOT NULL,
  PRIMARY KEY (policy_hash, base_run_key, head_run_key, look, variant, quantity)
) STRICT, WITHOUT ROWID;
