-- Views over a result database that dashboards read: their names and columns stay when tables change. Each has run_id:
-- a database made by `vorta-bench db merge` holds several runs. Temporary, so that they never alter a result file:
--   sqlite3 run.sqlite -cmd '.read dashboards/sql/views.sql'
-- `vorta-bench db publish` writes them into its copy as views that stay.

-- Newest attempt of every trial.
CREATE TEMP VIEW v_trial AS
SELECT t.*, r.suite, c.variant, c.ordinal AS variant_ordinal, i.seed, p.prompt_id, p.text AS prompt, r.reference_variant
FROM trial t
JOIN run r USING (run_id)
JOIN case_row c USING (case_id)
JOIN item i USING (item_id)
JOIN prompt p USING (prompt_id)
WHERE t.attempt = (SELECT max(u.attempt) FROM trial u WHERE u.run_id = t.run_id AND u.case_id = t.case_id
                   AND u.item_id = t.item_id AND u.role = t.role AND u.repeat = t.repeat);

-- Seconds of a stage, a row for each finished timing trial; for "step" the mean of its steps.
CREATE TEMP VIEW v_time AS
SELECT v.run_id, v.trial_id, v.variant, v.prompt, v.seed, v.item_id, s.stage,
       CASE s.stage WHEN 'step' THEN avg(s.host_ns) ELSE sum(s.host_ns) END * 1e-9 AS seconds
FROM v_trial v JOIN sample s USING (trial_id)
WHERE v.role = 'timing' AND v.status = 'ok'
GROUP BY v.trial_id, s.stage;

-- Speed-up over the reference variant on the same prompt and seed.
CREATE TEMP VIEW v_speed AS
WITH item_time AS (
  SELECT run_id, variant, item_id, stage, avg(seconds) AS seconds FROM v_time GROUP BY run_id, variant, item_id, stage)
SELECT a.run_id, a.variant, a.item_id, a.stage, a.seconds, b.seconds AS reference_seconds, b.seconds / a.seconds AS speedup
FROM item_time a
JOIN run r USING (run_id)
JOIN item_time b ON b.run_id = a.run_id AND b.item_id = a.item_id AND b.stage = a.stage AND b.variant = r.reference_variant;

-- Scores with the metric's unit and direction.
CREATE TEMP VIEW v_quality AS
SELECT v.run_id, v.variant, v.item_id, v.prompt, v.seed, m.metric_key, m.name, m.unit, m.direction, s.value, s.detail
FROM v_trial v JOIN metric_score s USING (trial_id) JOIN metric_def m USING (metric_key)
WHERE v.status = 'ok';

-- One point a run, variant and metric: speed-up end to end (geometric mean) against mean score.
CREATE TEMP VIEW v_pareto AS
SELECT run_id, s.variant, q.metric_key, q.unit, q.direction, s.speedup, q.score
FROM (SELECT run_id, variant, exp(avg(ln(speedup))) AS speedup FROM v_speed WHERE stage = 'e2e' GROUP BY run_id, variant) s
JOIN (SELECT run_id, variant, metric_key, unit, direction, avg(value) AS score
      FROM v_quality GROUP BY run_id, variant, metric_key) q USING (run_id, variant);

-- A point a run, variant and stage on the time axis (Unix seconds): the median trial. Only points of one environment compare.
CREATE TEMP VIEW v_history AS
WITH ranked AS (
  SELECT run_id, variant, stage, seconds, row_number() OVER place AS place, count(*) OVER (PARTITION BY run_id, variant, stage) AS trials
  FROM v_time WINDOW place AS (PARTITION BY run_id, variant, stage ORDER BY seconds))
SELECT r.run_id, r.started_unix_ns / 1000000000 AS time, r.suite, r.tool_version, substr(e.identity_hash, 1, 12) AS environment,
       k.variant, k.stage, avg(k.seconds) AS median_seconds, max(k.trials) AS trials
FROM ranked k JOIN run r USING (run_id) JOIN environment e USING (environment_id)
WHERE k.place IN ((k.trials + 1) / 2, (k.trials + 2) / 2)
GROUP BY r.run_id, k.variant, k.stage;

-- Operators of the profiled trials by self time.
CREATE TEMP VIEW v_operator AS
SELECT v.run_id, v.variant, r.name, sum(r.calls) AS calls, sum(r.self_ns) * 1e-9 AS self_seconds,
       sum(r.self_ns) * 1.0 / sum(sum(r.self_ns)) OVER (PARTITION BY v.run_id, v.variant) AS share
FROM v_trial v JOIN range_agg r USING (trial_id)
WHERE r.kind = 'operator' AND v.status = 'ok'
GROUP BY v.run_id, v.variant, r.name;

-- GPU kernels of the profiled trials.
CREATE TEMP VIEW v_kernel AS
SELECT v.run_id, v.variant, k.name, k.part, k.route, sum(k.calls) AS calls, sum(k.total_ns) * 1e-9 AS seconds,
       sum(k.total_ns) * 1.0 / sum(sum(k.total_ns)) OVER (PARTITION BY v.run_id, v.variant) AS share
FROM v_trial v JOIN gpu_kernel k USING (trial_id)
WHERE v.status = 'ok'
GROUP BY v.run_id, v.variant, k.name, k.part, k.route;

-- Clocks and power of each trial on a GPU, at the time it began (Unix seconds).
CREATE TEMP VIEW v_power AS
SELECT v.run_id, v.started_unix_ns / 1000000000 AS time, v.variant, v.role, g.device, g.median_sm_clock_mhz, g.mean_power_w,
       g.max_temperature_c, g.energy_j, g.throttle_reasons, g.power_regime
FROM v_trial v JOIN gpu_power g USING (trial_id);

-- Share of heads by branch, step and layer.
CREATE TEMP VIEW v_route AS
SELECT r.run_id, c.variant, r.step, r.layer,
       r.dense_heads * 1.0 / (r.dense_heads + r.coreset_heads + r.sliding_heads) AS dense_share,
       r.coreset_heads * 1.0 / (r.dense_heads + r.coreset_heads + r.sliding_heads) AS coreset_share,
       r.sliding_heads * 1.0 / (r.dense_heads + r.coreset_heads + r.sliding_heads) AS sliding_share
FROM route_stat r JOIN case_row c USING (case_id);

-- What failed, where and why.
CREATE TEMP VIEW v_failure AS
SELECT v.run_id, v.variant, v.role, v.prompt, v.seed, e.kind, e.message, e.stage, e.step
FROM v_trial v JOIN error e USING (trial_id)
WHERE v.status = 'failed';

-- The environment as name and value.
CREATE TEMP VIEW v_environment AS
SELECT run_id, key AS name, value FROM run JOIN environment USING (environment_id), json_each(identity_json);
