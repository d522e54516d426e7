// Draws the charts of a report page from the JSON in #report-data. Runs offline; uses only the vegaEmbed in the page.
(() => {
  "use strict";
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const names = report.variants.map((v) => v.variant);
  const palette = ["#5b6675", "#d9822b", "#2a9d8f", "#1f6feb", "#9b5de5", "#c0392b", "#6a994e", "#d45d9c", "#b8860b", "#17a2c4", "#8c564b", "#4b4fb8"];
  const control = "#9aa4b1";  // controls share one colour: what they are stands in their names
  let coloured = 0;
  const variantScale = { domain: names, range: report.variants.map((v) => (v.params.control_for ? control : palette[coloured++ % palette.length])) };
  // Colours of the page's own theme, so that charts follow light and dark.
  const themed = () => {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line, faint] = ["--ink", "--soft", "--line", "--faint"].map((name) => style.getPropertyValue(name).trim());
    return {
      background: null, font: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
      axis: { labelColor: soft, titleColor: soft, gridColor: faint, domainColor: line, tickColor: line, titleFontWeight: 500, labelFontSize: 12, titleFontSize: 12 },
      legend: { labelColor: ink, titleColor: soft, labelFontSize: 12 }, view: { stroke: null },
      header: { labelFontSize: 13, labelFontWeight: 600, labelColor: ink, title: null }, title: { fontSize: 13, color: ink },
    };
  };
  const finite = (x) => typeof x === "number" && isFinite(x);

  // A chart is drawn when it comes near the screen: a run of hundreds of cases opens at once.
  const charts = new Map();
  const picture = (view, id, type) => view.toImageURL(type, 2).then((address) => {
    Object.assign(document.createElement("a"), { href: address, download: report.suite + "-" + id + "." + type }).click();
  });
  const render = (id) => {
    const chart = charts.get(id);
    const { target } = chart;
    chart.spec ??= chart.make();  // of a run of hundreds of cases, the slow part
    if (!chart.spec) {
      target.closest("section").hidden = true;
      charts.delete(id);
      return;
    }
    const spec = chart.spec;
    vegaEmbed(target, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", config: themed(), ...spec }, { actions: false, renderer: "svg" })
      .then(({ view }) => {
        const bar = document.createElement("p");
        bar.className = "save";
        for (const type of ["svg", "png"]) {
          const button = Object.assign(document.createElement("button"), { type: "button", textContent: type.toUpperCase(), title: "save this chart as " + type.toUpperCase() });
          button.addEventListener("click", () => picture(view, id, type));
          bar.append(button);
        }
        target.append(bar);
      })
      .catch((error) => { target.textContent = "This chart could not be drawn: " + error.message; });
  };
  const near = "IntersectionObserver" in window && new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      near.unobserve(entry.target);
      render(entry.target.id);
    }
  }, { rootMargin: "600px" });
  const draw = (id, make) => {
    const target = document.getElementById(id);
    if (!target) return;
    charts.set(id, { target, make });
    if (near) near.observe(target);
    else render(id);
  };
  const again = () => { for (const [id, chart] of charts) if (chart.target.childElementCount) render(id); };

  // Speed-up against quality: a panel a metric.
  const scatter = () => {
    const stage = report.variants.some((v) => v.speedups.e2e) ? "e2e" : "step";
    const panels = report.metrics.filter((m) => m.family !== "speed" && m.family !== "memory" && !m.family.endsWith("/dimension")).map((metric) => {
      const values = report.variants.flatMap((v) => {
        const speed = v.speedups[stage], score = v.scores[metric.key];
        if (!speed || !score || !score.mean) return [];
        return [{ variant: v.variant, kind: v.params.control_for ? "control" : "variant", front: (report.pareto?.[metric.key] ?? []).includes(v.variant), x: speed.value, x0: speed.low ?? speed.value, x1: speed.high ?? speed.value,
                  y: score.mean.value, y0: score.mean.low ?? score.mean.value, y1: score.mean.high ?? score.mean.value }];
      });
      if (!values.length) return null;
      const x = { field: "x", type: "quantitative", title: "speed-up, " + (stage === "e2e" ? "end to end" : "one step"), scale: { zero: false, padding: 16 } };
      const y = { field: "y", type: "quantitative", title: metric.unit === "1" ? metric.key : metric.unit, scale: { zero: false, padding: 16 } };
      const color = { field: "variant", type: "nominal", scale: variantScale, title: null };
      const shape = { field: "kind", type: "nominal", scale: { domain: ["variant", "control"], range: ["circle", "diamond"] }, title: null };
      return { title: metric.name + (metric.direction === "target" ? "" : metric.direction === "higher" ? " (higher is better)" : " (lower is better)"),
        width: 330, height: 230, data: { values }, layer: [
          { transform: [{ filter: "datum.front" }], mark: { type: "line", color: "#5b6675", strokeDash: [4, 3], opacity: 0.7 }, encoding: { x, y, order: { field: "x" } } },
          { mark: { type: "rule", strokeWidth: 1.5, opacity: 0.6 }, encoding: { x: { ...x, field: "x0" }, x2: { field: "x1" }, y, color } },
          { mark: { type: "rule", strokeWidth: 1.5, opacity: 0.6 }, encoding: { x, y: { ...y, field: "y0" }, y2: { field: "y1" }, color } },
          { mark: { type: "point", filled: true, size: 130 }, encoding: { x, y, color, shape,
            tooltip: [{ field: "variant" }, { field: "x", title: "speed-up", format: ".3f" }, { field: "y", title: metric.name, format: ".4g" }] } } ] };
    }).filter(Boolean);
    return panels.length ? { columns: 2, spacing: 36, concat: panels } : null;
  };

  const stages = () => {
    const order = ["text", "denoise", "vae"];
    const values = report.variants.flatMap((v) => order.flatMap((stage, i) => v.stages_s[stage] ?
      [{ variant: v.variant, stage: { text: "text encoder", denoise: "denoising", vae: "VAE decoder" }[stage], seconds: v.stages_s[stage].median, order: i }] : []));
    return values.length && { width: 900, height: { step: 34 }, data: { values }, mark: { type: "bar", cornerRadius: 2 }, encoding: {
      y: { field: "variant", type: "nominal", sort: names, title: null }, x: { field: "seconds", type: "quantitative", title: "median seconds a video", axis: { tickCount: 10 } },
      color: { field: "stage", type: "nominal", sort: ["text encoder", "denoising", "VAE decoder"], title: null, scale: { domain: ["text encoder", "denoising", "VAE decoder"], range: ["#b8c4d0", "#1f6feb", "#2a9d8f"] } },
      order: { field: "order" }, tooltip: [{ field: "variant" }, { field: "stage" }, { field: "seconds", format: ".4g" }] } };
  };

  const steps = () => {
    const values = report.variants.flatMap((v) => v.step_s.map((s, i) => ({ variant: v.variant, step: i, ms: s * 1e3 })));
    return values.length && { width: 900, height: 240, data: { values }, mark: { type: "line", point: { size: 40 }, strokeWidth: 2 }, encoding: {
      x: { field: "step", type: "quantitative", axis: { tickMinStep: 1, format: "d" }, title: "denoising step" }, y: { field: "ms", type: "quantitative", title: "median milliseconds", scale: { zero: true } },
      color: { field: "variant", type: "nominal", scale: variantScale, title: null }, tooltip: [{ field: "variant" }, { field: "step" }, { field: "ms", format: ".4g" }] } };
  };

  const layers = () => {
    const values = report.variants.flatMap((v) => v.layers.filter((l) => l.layer >= 0).map((l) => ({ variant: v.variant, layer: l.layer, part: l.name, ms: l.total_s * 1e3 })));
    return values.length && { columns: 2, data: { values }, facet: { field: "variant", type: "nominal", sort: names }, spec: { width: 430, height: 170, mark: "bar", encoding: {
      x: { field: "layer", type: "ordinal", title: "layer", axis: { labelAngle: 0 } }, y: { field: "ms", type: "quantitative", title: "milliseconds" },
      color: { field: "part", type: "nominal", title: null, scale: { scheme: "tableau10" } }, tooltip: [{ field: "part" }, { field: "layer" }, { field: "ms", format: ".4g" }] } } };
  };

  const operators = () => {
    const values = report.variants.flatMap((v) => v.operators.slice(0, 10).map((o) => ({ variant: v.variant, operator: o.name, ms: o.self_s * 1e3, calls: o.calls })));
    return values.length && { columns: 2, data: { values }, facet: { field: "variant", type: "nominal", sort: names }, resolve: { scale: { y: "independent" } },
      spec: { width: 330, height: { step: 19 }, mark: { type: "bar", cornerRadius: 2 }, encoding: {
        y: { field: "operator", type: "nominal", sort: "-x", title: null, axis: { labelLimit: 170 } }, x: { field: "ms", type: "quantitative", title: "self milliseconds" },
        color: { field: "variant", type: "nominal", scale: variantScale, legend: null }, tooltip: [{ field: "operator" }, { field: "ms", format: ".4g" }, { field: "calls" }] } } };
  };

  const routes = () => {
    const values = report.variants.flatMap((v) => v.routes.flatMap((r) => {
      const all = r.dense + r.coreset + r.sliding || 1;
      return [["dense", r.dense], ["coreset", r.coreset], ["sliding tile", r.sliding]].map(([branch, heads]) =>
        ({ variant: v.variant, step: r.step, layer: r.layer, branch, share: heads / all, heads }));
    }));
    if (!values.length) return null;
    const used = names.filter((n) => values.some((v) => v.variant === n));
    const size = (count, most) => ({ step: Math.max(5, Math.min(30, most / Math.max(count, 1))) });
    const count = (key) => new Set(values.map((v) => v[key])).size;
    return { data: { values }, facet: { column: { field: "branch", type: "nominal", sort: ["dense", "coreset", "sliding tile"] }, ...(used.length > 1 ? { row: { field: "variant", type: "nominal", sort: names } } : {}) },
      spec: { width: size(count("step"), 300), height: size(count("layer"), 320), mark: { type: "rect", stroke: null }, encoding: {
        x: { field: "step", type: "ordinal", title: "denoising step", axis: { labelAngle: 0, labelOverlap: true } }, y: { field: "layer", type: "ordinal", title: "layer", axis: { labelOverlap: true } },
        color: { field: "share", type: "quantitative", title: "share of heads", scale: { domain: [0, 1], range: ["#f1f4f8", "#6ea8d8", "#08427c"] }, legend: { format: ".0%" } },
        tooltip: [{ field: "variant" }, { field: "step" }, { field: "layer" }, { field: "branch" }, { field: "heads" }, { field: "share", format: ".0%" }] } } };
  };

  // What the caches did: a panel a variant and pass, only where something was not computed.
  const calls = () => {
    const actions = { X: "computed", p: "in part", ".": "skipped" };
    const values = report.variants.filter((v) => (v.calls ?? []).some((c) => /[p.]/.test(c.blocks))).flatMap((v) => v.calls.flatMap((c) =>
      [...c.blocks].map((letter, block) => ({ panel: c.pass === "both" ? v.variant : `${v.variant}, ${c.pass}`, step: c.step, block, action: actions[letter], signal: c.signal }))));
    if (!values.length) return null;
    return { columns: 3, data: { values }, facet: { field: "panel", type: "nominal" }, spec: { width: 270, height: 120, mark: { type: "rect", stroke: "#fff", strokeWidth: 0.5 }, encoding: {
      x: { field: "step", type: "ordinal", title: "denoising step", axis: { labelAngle: 0, labelOverlap: true } }, y: { field: "block", type: "ordinal", title: "block", axis: { labelOverlap: true } },
      color: { field: "action", type: "nominal", title: null, scale: { domain: ["computed", "in part", "skipped"], range: ["#1f6feb", "#9ec5f8", "#eef1f4"] } },
      tooltip: [{ field: "panel" }, { field: "step" }, { field: "block" }, { field: "action" }, { field: "signal", format: ".4g" }] } } };
  };

  draw("chart-calls", calls);
  draw("chart-scatter", scatter);
  draw("chart-stages", stages);
  draw("chart-steps", steps);
  draw("chart-layers", layers);
  draw("chart-operators", operators);
  draw("chart-routes", routes);

  // The rows of long tables are text until someone wants to see them.
  const unfold = (details) => {
    const rows = details.querySelector("script");
    if (!rows) return;
    details.querySelector("tbody").innerHTML = rows.textContent;
    rows.remove();
  };
  document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", () => unfold(d)));

  // Paper cannot be unfolded or scrolled.
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((d) => { unfold(d); d.open = true; });
    for (const [id, chart] of charts) if (!chart.target.childElementCount) render(id);
  });

  // Light or dark: the system's choice until the button is used.
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; again(); });
  dark.addEventListener("change", again);
})();
