-- Schema 6: who else used the GPU during a trial; how many frames a trial gave (-1: none, or an older program); and an
-- operator's call of mean work at the rate of its fastest one (0: not recorded).
CREATE TABLE gpu_other_process (
  trial_id INTEGER NOT NULL REFERENCES trial,
  pid INTEGER NOT NULL,
  name TEXT NOT NULL,
  peak_bytes INTEGER NOT NULL,
  PRIMARY KEY (trial_id, pid)
) STRICT, WITHOUT ROWID;
ALTER TABLE trial ADD COLUMN frames INTEGER NOT NULL DEFAULT -1;
ALTER TABLE range_agg ADD COLUMN fastest_ns INTEGER NOT NULL DEFAULT 0;
