-- Schema 4: every forward of the network in a case's first timed generation, in order, and what its cache did to each
-- block: X computed, p in part (outputs of attention or feed-forward kept), . skipped.
CREATE TABLE forward_call (
  run_id INTEGER NOT NULL REFERENCES run,
  case_id INTEGER NOT NULL REFERENCES case_row,
  ordinal INTEGER NOT NULL,
  step INTEGER NOT NULL CHECK (step >= 0),
  pass TEXT NOT NULL CHECK (pass IN ('positive', 'negative', 'both')),
  blocks TEXT NOT NULL,
  signal REAL NOT NULL,
  PRIMARY KEY (run_id, case_id, ordinal)
) STRICT, WITHOUT ROWID;
