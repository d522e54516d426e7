// The live page of `vorta-bench serve`: asks the server for runs and draws them; changes nothing.
(() => {
  "use strict";
  const kRefreshMs = 3000;
  const kSilentSeconds = 900;  // no trial began for so long: the run was probably stopped
  const by = (id) => document.getElementById(id);
  const get = async (address) => {
    const answer = await fetch(address);
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error || answer.statusText);
    return value;
  };
  const element = (name, text, className) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  };
  const row = (cells) => {
    const tr = element("tr");
    for (const cell of cells) tr.append(cell instanceof Node ? cell : element("td", cell));
    return tr;
  };
  const number = (x, digits = 4) => (typeof x === "number" && isFinite(x) ? Number(x.toPrecision(digits)).toString() : "–");
  const when = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : "–");
  const fill = (select, values, titles = values) => {
    const kept = select.value;
    if ([...select.options].map((o) => o.value).join("\n") === values.join("\n")) return;
    select.replaceChildren(...values.map((value, i) => Object.assign(element("option", titles[i]), { value })));
    if (values.includes(kept)) select.value = kept;
  };

  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), soft: of("--soft"), line: of("--line") };
  };
  const draw = (id, spec) => {
    const c = colours();
    const config = { background: null, view: { stroke: null }, axis: { labelColor: c.soft, titleColor: c.soft, gridColor: c.line, domainColor: c.line, tickColor: c.line },
                     legend: { labelColor: c.ink, titleColor: c.soft } };
    return vegaEmbed(by(id), { $schema: "https://vega.github.io/schema/vega-lite/v6.json", config, ...spec }, { actions: false, renderer: "svg" });
  };

  let runs = [];
  const trials = (run, status) => (run.trials || {})[status] || 0;
  const state = (run) => {
    if (run.error) return ["unreadable", "failed"];
    if (run.ended) return ["finished", "finished"];
    const silent = Date.now() / 1000 - (run.last ? run.last.started : run.started);
    return silent < kSilentSeconds ? ["running", "running"] : ["stopped", "stopped"];
  };
  const progress = (run) => {
    const cell = element("td");
    const done = trials(run, "ok") + trials(run, "failed") + trials(run, "skipped");
    if (run.expected) cell.append(Object.assign(element("progress"), { max: run.expected, value: done, title: done + " of " + run.expected + " trials" }), " ");
    cell.append(run.expected ? done + " of " + run.expected : done + " trials");
    return cell;
  };
  const shortCommit = (commit) => (/^[0-9a-f]{12,}$/.test(commit || "") ? commit.slice(0, 10) : commit || "");
  const showRuns = () => {
    const body = by("runs").querySelector("tbody");
    body.replaceChildren(...runs.map((run) => {
      const [word, className] = state(run);
      const link = element("td");
      if (!run.error) link.append(Object.assign(element("a", "report"), { href: "/runs/" + run.id + "/report.html" }));
      const last = run.error || (run.last ? run.last.variant + ", " + run.last.prompt + ", seed " + run.last.seed + " (" + run.last.role + ", " + run.last.status + ")" : "–");
      const machine = run.environment ? [run.environment.gpu || run.environment.cpu, run.environment.threads + " threads"].join(", ") : "–";
      return row([run.id, run.suite || "–", shortCommit(run.commit) || "–", element("td", word, className), run.error ? "–" : progress(run),
                  element("td", String(trials(run, "failed")), trials(run, "failed") ? "number failed" : "number"), last, machine, when(run.started), link]);
    }));
    const live = runs.filter((run) => state(run)[0] === "running").length;
    by("state").textContent = runs.length + (runs.length === 1 ? " run, " : " runs, ") + live + " running; read " + new Date().toLocaleTimeString();
    const readable = runs.filter((run) => !run.error).map((run) => run.id);
    for (const id of ["compare-base", "compare-head", "profile-run"]) fill(by(id), readable);
    if (by("compare-head").selectedIndex === by("compare-base").selectedIndex && readable.length > 1) by("compare-head").selectedIndex = 1;
  };

  const showHistory = async () => {
    const rows = await get("/api/history");
    fill(by("history-suite"), [...new Set(rows.map((r) => r.suite))]);
    const ofSuite = rows.filter((r) => r.suite === by("history-suite").value);
    fill(by("history-stage"), [...new Set(ofSuite.map((r) => r.stage))]);
    const value = by("history-value").value;
    const values = ofSuite.filter((r) => r.stage === by("history-stage").value && typeof r[value] === "number")
      .sort((a, b) => a.started - b.started)
      .map((r) => ({ ...r, commit: shortCommit(r.commit) || "no commit", at: new Date(r.started * 1000).toISOString(), line: r.variant + " " + r.environment, machine: r.environment.slice(0, 8) }));
    await draw("history-chart", { width: 900, height: 280, data: { values }, mark: { type: "line", point: { size: 60 } }, encoding: {
      x: by("history-along").value === "commit" ? { field: "commit", type: "ordinal", title: "commit, oldest first", sort: [...new Set(values.map((v) => v.commit))], axis: { labelAngle: -45 } }
                                                : { field: "at", type: "temporal", title: "run began" }, y: { field: value, type: "quantitative", title: value === "speedup" ? "speed-up" : "median seconds" },
      color: { field: "variant", type: "nominal", title: null }, shape: { field: "machine", type: "nominal", title: "environment" }, detail: { field: "line" },
      tooltip: ["id", "commit", "variant", "version", "machine", { field: value, format: ".4g" }].map((t) => (typeof t === "string" ? { field: t } : t)) } });
  };

  const reports = new Map();
  const report = async (id) => {
    const run = runs.find((r) => r.id === id);
    const kept = reports.get(id);
    if (kept && run && run.ended) return kept;
    const value = await get("/runs/" + encodeURIComponent(id) + "/report.json");
    reports.set(id, value);
    return value;
  };

  const showComparison = async () => {
    const [base, head] = await Promise.all([by("compare-base").value, by("compare-head").value].map(report));
    const environment = (id) => (runs.find((r) => r.id === id) || {}).environment_hash;
    const foreign = environment(by("compare-base").value) !== environment(by("compare-head").value);
    const warning = by("compare-warning");
    warning.hidden = !foreign;
    warning.textContent = foreign ? "The two runs were measured in different environments: their times do not compare." : "";
    const table = by("compare").querySelector("table");
    const stages = ["step", "denoise", "vae", "e2e"];
    table.querySelector("thead").replaceChildren(row(["variant", ...stages.map((s) => s + ", base s / head s"), "shared metrics, head − base"].map((t) => element("th", t))));
    table.querySelector("tbody").replaceChildren(...base.variants.flatMap((b) => {
      const h = head.variants.find((v) => v.variant === b.variant);
      if (!h) return [];
      const ratios = stages.map((s) => (b.stages_s[s] && h.stages_s[s] ? number(b.stages_s[s].median / h.stages_s[s].median, 3) + " (" + number(b.stages_s[s].median) + " / " + number(h.stages_s[s].median) + ")" : "–"));
      const scores = Object.keys(b.scores).filter((k) => b.scores[k].mean && h.scores[k] && h.scores[k].mean)
        .map((k) => k + " " + number(h.scores[k].mean.value - b.scores[k].mean.value, 3)).join(", ");
      return [row([b.variant, ...ratios, scores || "–"])];
    }));
  };

  const showProfile = async () => {
    const value = await report(by("profile-run").value);
    fill(by("profile-variant"), value.variants.map((v) => v.variant));
    const variant = value.variants.find((v) => v.variant === by("profile-variant").value);
    if (!variant) return;
    const kernels = variant.gpu ? variant.gpu.kernels.map((k) => ({ name: k.name, ms: k.total_s * 1e3, calls: k.calls })) : [];
    const rows = kernels.length ? kernels : variant.operators.map((o) => ({ name: o.name, ms: o.self_s * 1e3, calls: o.calls }));
    by("profile-note").textContent = rows.length ? (kernels.length ? "GPU kernels" : "Operators on the CPU, self time") + " of the profiled trial, the longest first." : "This variant has no profiled trial yet.";
    await draw("profile-chart", { width: 640, height: { step: 20 }, data: { values: rows.sort((a, b) => b.ms - a.ms).slice(0, 20) }, mark: "bar", encoding: {
      y: { field: "name", type: "nominal", sort: "-x", title: null, axis: { labelLimit: 320 } }, x: { field: "ms", type: "quantitative", title: "milliseconds" },
      tooltip: [{ field: "name" }, { field: "ms", format: ".4g" }, { field: "calls" }] } });
  };

  const complain = (error) => { by("state").textContent = "The server did not answer: " + error.message; };
  const guarded = (task) => () => task().catch(complain);
  const refresh = async () => {
    runs = await get("/api/runs");
    showRuns();
  };
  const everything = async () => {
    await refresh();
    if (!runs.some((run) => !run.error)) return;
    await Promise.all([showHistory(), showComparison(), showProfile()]);
  };
  for (const id of ["history-suite", "history-stage", "history-value", "history-along"]) by(id).addEventListener("change", guarded(showHistory));
  for (const id of ["compare-base", "compare-head"]) by(id).addEventListener("change", guarded(showComparison));
  by("profile-run").addEventListener("change", guarded(showProfile));
  by("profile-variant").addEventListener("change", guarded(showProfile));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", guarded(everything));
  const loop = async () => {
    const before = JSON.stringify(runs.map((run) => run.ended));
    await refresh();
    if (JSON.stringify(runs.map((run) => run.ended)) !== before) await everything();
  };
  guarded(everything)();
  setInterval(guarded(loop), kRefreshMs);
})();
