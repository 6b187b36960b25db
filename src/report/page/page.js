
// ---- the page: what is drawn of which run ----
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
// Layers as they follow each other, and not by the alphabet.
for (const run of data.runs) {
  const place = (layer) => [layer.name.startsWith("encoder") ? 0 : 1, layer.name];
  const order = (a, b) => { const [x, y] = [place(a), place(b)]; return x[0] - y[0] || x[1].localeCompare(y[1], "en", { numeric: true }); };
  run.experts.layers.sort(order);
  run.languages.layers.sort(order);
}
const short_names = shorten(data.runs.map((run) => run.name));
const runs = data.runs.map((run, i) => ({ ...run, name: short_names[i], path: run.name, color: `var(--c${i % 8})`, dashed: i >= 8 }));
const several = runs.length > 1;

// What the reader has chosen, which outlives a reload.
const chosen = { x: "update", metric: "loss", measure: "dropped", direction: "", hidden: [], theme: "", ...remembered() };
function remembered() {
  try { return JSON.parse(sessionStorage.getItem("chorus report") ?? "{}"); } catch { return {}; }
}
function choose(key, value) {
  chosen[key] = value;
  try { sessionStorage.setItem("chorus report", JSON.stringify(chosen)); } catch { /* a browser that keeps nothing */ }
}

// Names without the folders that all have in common.
function shorten(names) {
  const split = names.map((name) => name.split("/"));
  let same = 0;
  while (split.every((parts) => parts.length > same + 1 && parts[same] === split[0][same])) ++same;
  return split.map((parts) => parts.slice(same).join("/"));
}
const shown = () => runs.filter((run) => !chosen.hidden.includes(run.path));

// The axis along which a run goes: its updates, or what they had come to by then.
const axes = {
  update: { name: "updates", format: count, of: (run) => run.curves.update, at: (run, update) => update },
  tokens: { name: "target tokens", format: count, of: (run) => run.curves.tokens, at: (run, update) => between(run, update, run.curves.tokens) },
  hours: { name: "time of training", format: formats.hours, of: (run) => run.curves.seconds.map((s) => s / 3600), at: (run, update) => between(run, update, run.curves.seconds) / 3600 },
};
function between(run, update, list) {
  const updates = run.curves.update, i = updates.findIndex((u) => u >= update);
  if (i < 0) return list[list.length - 1] ?? 0;
  const u0 = i > 0 ? updates[i - 1] : 0, v0 = i > 0 ? list[i - 1] : 0;
  return updates[i] === u0 ? list[i] : v0 + ((list[i] - v0) * (update - u0)) / (updates[i] - u0);
}

function section(id, title, ...content) {
  const box = make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), ...content);
  main.append(box);
  return box;
}
function chooser(label, options, value, change) {
  const select = make("select", { onchange: () => change(select.value) }, ...options.map(([key, text]) => make("option", { value: key, selected: key === value }, text)));
  return make("label", {}, label, select);
}
function table(head, rows, kind = "") {
  return make("div", { class: `scroll card ${kind}`, tabindex: 0, role: "region", "aria-label": head.join(", ") },
    make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows)));
}
function row_of(cells, attributes = {}) {
  return make("tr", attributes, ...cells.map((cell, i) => (cell instanceof Node && cell.nodeName === "TD" ? cell : make(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}, cell ?? "–"))));
}
const maybe = (value, format) => (value === null || value === undefined ? "–" : format(value));
const score = (x) => x.toFixed(2), loss = (x) => x.toFixed(4);
const column = (run, name) => run.curves.columns[name];
const last_of = (list) => list?.findLast((x) => x !== null) ?? null;
const most_of = (run, name) => {
  const found = column(run, name);
  return found ? (found.most ?? found.mean).reduce((a, b) => (b !== null && (a === null || b > a) ? b : a), null) : null;
};
function swatch_of(run) { return make("span", { class: run.dashed ? "swatch dashed" : "swatch", style: `border-color:${run.color}` }); }
function run_name(run) {
  return make("span", { title: run.path }, several ? swatch_of(run) : null, several ? ` ${run.name}` : run.name);
}

const is_sparse = (run) => run.experts.layers.length > 0;

// ---- overview ----

// Settings in which runs differ that have them.
const differing = (is_meant) => data.settings.filter((option) => is_meant(option.name) && new Set(option.values.filter((value) => value !== null)).size > 1).map((option) => option.name);
const vocabularies_differ = differing((name) => name.startsWith("vocabulary."));
function incomparable() {
  const notes = [], validated = runs.filter((run) => run.validations.best);
  const directions_of = (run) => Object.keys(run.validations.best.directions ?? {}).sort().join(", ");
  if (new Set(validated.map(directions_of)).size > 1) notes.push("The runs are validated on different directions, so that their means over directions cannot be compared: see each direction.");
  const text = differing((name) => /^data\.valid\[\d+\]\.(files|tsv)$/.test(name));
  if (text.length) notes.push(`The runs may be validated on different text (${text.join(", ")}).`);
  if (vocabularies_differ.length) notes.push(`The vocabularies differ (${vocabularies_differ.join(", ")}): losses are per token of each, and cannot be compared; BLEU and chrF can.`);
  return notes;
}

function overview() {
  const with_scores = runs.some((run) => run.validations.best?.bleu != null);
  const head = ["run", "updates", "epochs", "target tokens", "time", "training loss", "validation loss", "at update", ...(with_scores ? ["BLEU", "chrF"] : []), "tokens/s", "dropped"];
  const rows = runs.map((run) => {
    const c = run.curves, best = run.validations.best, time = last_of(c.seconds), tokens = last_of(c.tokens);
    return row_of([run_name(run), maybe(last_of(c.update), count), maybe(last_of(column(run, "epoch")?.mean), digits), maybe(tokens, count), maybe(time, seconds),
      maybe(last_of(column(run, "nll")?.mean), loss), maybe(best?.loss, loss), maybe(best?.update, count),
      ...(with_scores ? [maybe(best?.bleu, score), maybe(best?.chrf, score)] : []), maybe(time ? tokens / time : null, count), maybe(is_sparse(run) ? last_of(column(run, "dropped")?.mean) : null, formats.percent)]);
  });
  const box = section("overview", "Overview", table(head, rows));
  box.append(make("p", { class: "note" }, "Losses are negative log-likelihoods per target token, in nats. Validation is that of the best model, scores are means over the directions of translation; tokens/s counts target tokens over all of the run's time."));
  for (const run of runs) {
    const recorded = last_of(run.curves.update), best = run.validations.best?.update;
    if (best > recorded) box.append(make("p", { class: "note" }, `${several ? `${run.name}: ` : ""}what it cost is told up to update ${count(recorded)}, the last that was recorded (train.log_every); the best model is of update ${count(best)}.`));
  }
  for (const note of incomparable()) box.append(make("p", { class: "note" }, note));
  for (const run of runs) for (const note of run.notes) box.append(make("p", { class: "note" }, several ? `${run.name}: ` : "", note));
}

// ---- curves ----

function series_of(run, name, extra = {}) {
  const found = column(run, name);
  return found ? [{ name: run.name, color: run.color, dashed: run.dashed, x: axes[chosen.x].of(run), y: found.mean, low: found.least, high: found.most, ...extra }] : [];
}
function chart(title, unit, y, series, extra = {}) {
  const axis = axes[chosen.x];
  return series.length ? curves({ title, unit, x: { name: axis.name, format: axis.format }, y, series, ...extra }) : null;
}
function validation_series(run, rows, values, name) {
  return { name, color: run.color, dashed: true, dots: true, x: rows.map((row) => axes[chosen.x].at(run, row.update)), y: values };
}
const charted = (name, title, unit, y, of = shown()) => chart(title, unit, y, of.flatMap((run) => series_of(run, name)));

function training() {
  const losses = shown().flatMap((run) => {
    const rows = run.validations.rows;
    return [...series_of(run, "nll", { name: `${run.name}, training` }),
      ...(rows.length ? [{ ...validation_series(run, rows, rows.map((row) => row.loss), `${run.name}, validation`), ...(several ? {} : { color: "var(--c1)" }) }] : [])];
  });
  const tasks = [...new Set(runs.flatMap((run) => Object.keys(run.curves.columns)))].filter((name) => name.startsWith("tasks/"));
  return [
    chart("Loss", "nats per target token, logarithmic; dashed: validation", { format: digits, log: true }, losses),
    charted("loss", "What is minimised", "nats per target token, label smoothing included; logarithmic", { format: digits, log: true }),
    charted("accuracy", "Accuracy", "of target tokens", { format: formats.percent }),
    charted("learning_rate", "Learning rate", "", { format: formats.number, from_zero: true }),
    charted("gradient_norm", "Gradient norm", "before clipping; logarithmic", { format: formats.number, log: true }),
    charted("tokens_per_second", "Speed", "target tokens per second of the updates alone", { format: formats.rate, from_zero: true }),
    ...tasks.map((name) => charted(name, `Loss of task ${name.split("/")[1]}`, "nats per target token", { format: digits })),
  ];
}

function memory() {
  const tiers = [["device", "memory/device_peak", "Device"], ["host", "memory/host_peak", "Host"], ["nvme", "memory/nvme", "NVMe"]];
  const charts = tiers.map(([tier, name, title]) => {
    const list = shown().flatMap((run) => {
      const found = column(run, name);
      return found ? [{ name: run.name, color: run.color, x: axes[chosen.x].of(run), y: found.most ?? found.mean }] : [];
    });
    const limits = shown().flatMap((run) => (run.plan && run.plan[tier].typical > 0 ? [
      { name: `${several ? run.name + " " : ""}planned`, color: run.color, value: run.plan[tier].typical },
      ...(run.plan[tier].most > run.plan[tier].typical ? [{ name: `${several ? run.name + " " : ""}at most`, color: run.color, value: run.plan[tier].most }] : [])] : []));
    if (!list.some((s) => s.y.some((y) => y > 0))) return null;
    return chart(title, "peak of the rank that has most", { format: formats.bytes, from_zero: true, is_bytes: true }, list, { limits });
  });
  const sent = [...new Set(runs.flatMap((run) => Object.keys(run.curves.columns)))].filter((name) => name.startsWith("bytes_sent/") && runs.some((run) => most_of(run, name) > 0));
  return [...charts, ...sent.map((name) => charted(name, `Sent to others, ${name.split("/")[1]}`, "by rank 0, between two records", { format: formats.bytes, from_zero: true, is_bytes: true }))];
}
function plan_notes() {
  return runs.filter((run) => !run.plan).map((run) => make("p", { class: "note" }, `${several ? run.name + ": t" : "T"}he plan is not known (no plan.json: an older chorus has made the run).`));
}

// ---- scores by direction ----

const metrics = { loss: ["loss", "nats per target token", digits, loss], bleu: ["BLEU", "0 to 100", digits, score], chrf: ["chrF", "0 to 100", digits, score] };
const directions = [...new Set(runs.flatMap((run) => Object.keys(run.validations.directions)))].sort();
const metrics_there = Object.keys(metrics).filter((key) => runs.some((run) => run.validations.rows.some((row) => row[key] !== null)));
const kMostPanels = 24;

function direction_charts(listed) {
  const [name, , format] = metrics[chosen.metric];
  return listed.map((direction) => chart(direction, name, { format },
    shown().flatMap((run) => {
      const found = run.validations.directions[direction]?.[chosen.metric];
      return found?.some((y) => y !== null) ? [{ ...validation_series(run, run.validations.rows, found, run.name), dashed: run.dashed }] : [];
    }), { height: 170 }));
}

function difference(comparison, key) {
  const d = comparison.other[0] - comparison.baseline[0], sure = comparison.p <= 0.05;
  const text = `${d >= 0 ? "+" : "−"}${Math.abs(d).toFixed(2)}${sure ? " *" : ""}`;
  return make("td", { class: sure ? (d > 0 ? "better" : "worse") : "", title: key }, text);
}

function scores() {
  if (!directions.length) return section("scores", "Scores by direction", make("p", {}, "No validation yet: it needs [[data.valid]], and comes every validation.every updates."));
  const box = section("scores", "Scores by direction");
  const panels = make("div", { class: "grid small" });
  const place = make("div"), drawn_are = make("p", { class: "note" });
  const found = () => directions.filter((direction) => direction.includes(chosen.direction));
  const draw = () => {
    panels.replaceChildren(...direction_charts(found().slice(0, kMostPanels)).filter(Boolean));
    drawn_are.textContent = found().length > kMostPanels ? `Drawn are the first ${kMostPanels} of ${found().length} directions; the table has more.` : "";
    place.replaceChildren(direction_table(found().slice(0, 1000)));
  };
  redraw.push(draw);
  const filter = make("input", { type: "search", "aria-label": "Find a direction", placeholder: "find", value: chosen.direction, oninput: () => { choose("direction", filter.value); draw(); } });
  if (metrics_there.length > 1 || directions.length > 12) box.append(make("div", { class: "controls" }, directions.length > 12 ? make("label", {}, "Find", filter) : null, metrics_there.length < 2 ? null : chooser("Score", metrics_there.map((key) => [key, `${metrics[key][0]}, ${metrics[key][1]}`]), chosen.metric, (value) => { choose("metric", value); draw_again(); })));
  box.append(panels, drawn_are, make("h3", { style: "margin-top:1rem" }, "At the best validation of each run"), place);
}
function direction_table(listed) {
  const head = ["direction", ...metrics_there.flatMap((key) => runs.map((run) => (several ? `${metrics[key][0]}, ${run.name}` : metrics[key][0])))];
  const places = ["loss", "bleu", "chrf"];
  return table(head, listed.map((direction) => row_of([direction, ...metrics_there.flatMap((key) => {
    const values = runs.map((run) => run.validations.best?.directions?.[direction]?.[places.indexOf(key)] ?? null);
    const known = values.filter((value) => value !== null), best = key === "loss" ? Math.min(...known) : Math.max(...known);
    return values.map((value) => make("td", { class: several && known.length > 1 && value === best && !(key === "loss" && vocabularies_differ.length) ? "changed" : "" }, maybe(value, metrics[key][3])));
  })])));
}

function significance() {
  if (!several) return;
  const [first, ...others] = runs;
  const box = section("differences", "Are the differences more than chance?");
  const compared = others.filter((run) => run.comparisons.length);
  for (const run of runs) if (run.missing) box.append(make("p", { class: "note" }, run.missing));
  for (const run of others) if (run.kept !== null && first.kept !== null && !run.comparisons.length) box.append(make("p", { class: "note" }, `${run.name} and ${first.name} have translated no direction with the same lines and tokeniser, so nothing can be compared.`));
  if (!compared.length) return;
  const key = (c) => `${c.metric}|${c.direction}`;
  const all = new Map(compared.flatMap((run) => run.comparisons.map((c) => [key(c), c])));
  const head = ["direction", "score", "lines", first.name, ...compared.flatMap((run) => [run.name, "difference", "p"])];
  box.append(table(head, [...all.values()].slice(0, 1000).map((c) => row_of([c.direction || "mean of directions", c.metric, c.lines, `${score(c.baseline[0])} ± ${score(c.baseline[1])}`,
    ...compared.flatMap((run) => {
      const own = run.comparisons.find((other) => key(other) === key(c));
      return own ? [`${score(own.other[0])} ± ${score(own.other[1])}`, difference(own, run.name), own.p.toFixed(3)] : [null, null, null];
    })], c.direction ? {} : { class: "changed" }))));
  box.append(make("p", { class: "note" }, `Paired bootstrap over the translations of each run's best validation, 1,000 resamples of the lines (as sacreBLEU's --paired-bs): p is the probability of such a difference from ${first.name} if both were equally good; * marks p ≤ 0.05; ± is half of the 95 % interval. With many directions some differences are below 0.05 by chance.`));
}

// ---- experts ----

const kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
function unpacked(text, most) {
  const values = [];
  for (let i = 0; i < text.length; i += 2) values.push(text[i] === "-" ? null : ((kDigits.indexOf(text[i]) * 64 + kDigits.indexOf(text[i + 1])) / 4095) * most);
  return values;
}
function expert_name(layer, bin) {
  const from = Math.ceil((bin * layer.experts) / layer.bins), to = Math.ceil(((bin + 1) * layer.experts) / layer.bins) - 1;
  return from === to ? `${from}` : `${from}–${to}`;
}
const spaced = (size, most) => { const step = Math.max(1, Math.ceil(size / most)); return Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step); };
const measures = { dropped: ["choices dropped", formats.percent], max_over_mean: ["most loaded expert over the mean", digits], unused_experts: ["experts that nothing chose", digits], entropy: ["entropy of the router, in nats", digits], balance_loss: ["balance loss, 1 when balanced", digits], z_loss: ["z-loss", digits] };

function time_columns(run) {
  const updates = run.experts.updates;
  return { columns: updates.length, x_name: "updates", column_name: (c) => (updates[c][0] === updates[c][1] ? `update ${updates[c][0]}` : `updates ${updates[c][0]} to ${updates[c][1]}`),
    column_ticks: spaced(updates.length, 8).map((c) => [c, count(updates[c][1])]) };
}
function load_map(run, layer) {
  const values = unpacked(layer.load, 40.95);
  return heat_map({ title: `Load of each expert, ${layer.name}${several ? `, ${run.name}` : ""}`, unit: "over the mean of all", rows: layer.bins, ...time_columns(run),
    value: (r, c) => values[c * layer.bins + r], text: (v) => `${digits(v)} times the mean`, row_title: layer.bins < layer.experts ? "experts" : "expert", row_name: (r) => expert_name(layer, r),
    row_ticks: spaced(layer.bins, 24), scale: { around_one: true }, key: ["1/8 of the mean", "8 times"] });
}
function measure_map(run) {
  const layers = run.experts.layers, [name, format] = measures[chosen.measure];
  const all = layers.flatMap((layer) => layer.numbers[chosen.measure]).filter((x) => x !== null), least = chosen.measure === "dropped" || chosen.measure === "unused_experts" ? 0 : Math.min(...all), most = Math.max(...all, least + 1e-9);
  if (!all.length) return null;
  return heat_map({ title: `By layer: ${name}${several ? `, ${run.name}` : ""}`, rows: layers.length, ...time_columns(run), value: (r, c) => layers[r].numbers[chosen.measure][c] ?? null, text: format,
    row_title: "", row_name: (r) => layers[r].name, row_ticks: layers.map((_, i) => i), scale: { least, most }, key: [format(least), format(most)] });
}
function language_map(run, layer) {
  const names = run.languages.names, rows = layer.shares.map((text, i) => [i, unpacked(text, 1)]).filter(([, shares]) => shares.length);
  const most = rows.reduce((high, [, shares]) => Math.max(high, ...shares), 1e-9);
  const side = layer.name.startsWith("decoder") ? "target" : "source";
  return heat_map({ title: `Experts by ${side} language, ${layer.name}${several ? `, ${run.name}` : ""}`, unit: `share of the language's choices, validation at update ${count(run.languages.update)}`, rows: rows.length, columns: layer.bins,
    value: (r, c) => rows[r][1][c], text: formats.percent, row_title: "", row_name: (r) => names[rows[r][0]] ?? `language ${rows[r][0]}`, row_ticks: rows.map((_, i) => i), x_name: "expert",
    column_name: (c) => `expert${layer.bins < layer.experts ? "s" : ""} ${expert_name(layer, c)}`, column_ticks: spaced(layer.bins, 16).map((c) => [c, expert_name(layer, c)]), scale: { least: 0, most, linear: true }, key: ["0", formats.percent(most)] });
}

function experts() {
  const sparse = runs.filter((run) => run.experts.layers.length || run.languages.layers.length);
  if (!sparse.length) return;
  const box = section("experts", "Experts"), controls = make("div", { class: "controls" }), place = make("div", { class: "grid loose" });
  const pick = () => sparse.find((run) => run.path === chosen.run) ?? sparse[0];
  redraw.push(() => {
    const run = pick(), names = [...new Set([...run.experts.layers, ...run.languages.layers].map((layer) => layer.name))];
    const name = names.includes(chosen.layer) ? chosen.layer : names[0], of = (list) => list.find((layer) => layer.name === name);
    controls.replaceChildren(
      ...(sparse.length > 1 ? [chooser("Run", sparse.map((r) => [r.path, r.name]), run.path, (value) => { choose("run", value); draw_again(); })] : []),
      chooser("Layer", names.map((n) => [n, n]), name, (value) => { choose("layer", value); draw_again(); }),
      chooser("By layer", Object.entries(measures).map(([key, [text]]) => [key, text]), chosen.measure, (value) => { choose("measure", value); draw_again(); }));
    const load = of(run.experts.layers), shares = of(run.languages.layers);
    place.replaceChildren(...[charted("dropped", "Choices dropped", "over all layers", { format: formats.percent, from_zero: true }, shown().filter(is_sparse)),
      run.experts.layers.length ? measure_map(run) : null, load ? load_map(run, load) : null, shares && shares.shares.some((text) => text) ? language_map(run, shares) : null].filter(Boolean));
  });
  box.append(controls, place);
}

// ---- samples and settings ----

function samples() {
  if (!data.samples.length) return;
  const box = section("samples", "Samples"), place = make("div");
  const all = [...new Set(data.samples.map((sample) => sample.direction))];
  const of_each = () => all.slice(0, 12).map((name) => data.samples.find((sample) => sample.direction === name));
  const picked = () => (all.includes(chosen.samples) ? data.samples.filter((sample) => sample.direction === chosen.samples) : of_each());
  redraw.push(() => place.replaceChildren(...picked().map((sample) =>
    make("article", { class: "sample card" }, make("h3", {}, sample.direction), make("dl", {}, make("dt", {}, "source"), make("dd", {}, sample.source), make("dt", {}, "reference"), make("dd", {}, sample.reference),
      ...runs.flatMap((run, i) => (sample.translations[i] === null ? [] : [make("dt", {}, several ? run_name(run) : "translation"), make("dd", {}, sample.translations[i])])))))));
  box.append(make("div", { class: "controls" }, chooser("Direction", [["", "one of each"], ...all.map((name) => [name, name])], chosen.samples, (value) => { choose("samples", value); draw_again(); })),
    make("p", { class: "note" }, `Translations of the best validation: ${runs.filter((run) => run.kept !== null).map((run) => `${several ? `${run.name}, ` : ""}update ${count(run.kept)}`).join("; ")}.`), place);
}

function settings() {
  const box = section("settings", "Settings"), place = make("div");
  const filter = make("input", { type: "search", "aria-label": "Find a setting", placeholder: "find", oninput: () => draw() });
  const every = make("input", { type: "checkbox", onchange: () => draw() });
  const draw = () => {
    const rows = data.settings.filter((option) => option.name.includes(filter.value) && (every.checked || option.values.some((value) => value !== null && value !== option.initial)));
    place.replaceChildren(table(["setting", "default", ...(several ? runs.map((run) => run.name) : ["this run"])], rows.map((option) => {
      const differ = new Set(option.values).size > 1;
      return row_of([option.name, make("td", { class: "wrap" }, option.initial === "" ? "–" : option.initial), ...option.values.map((value) => make("td", { class: `wrap ${value !== null && value !== option.initial ? (differ ? "changed" : "") : "note"}` }, value ?? "–"))]);
    }), "of-text"));
    if (!rows.length) place.replaceChildren(make("p", { class: "note" }, "None."));
  };
  box.append(make("div", { class: "controls" }, make("label", {}, "Find", filter), make("label", {}, every, "also those as by default")), make("p", { class: "note" }, several ? "Those that differ from the default; bold where runs differ from each other too." : "Those that differ from the default."), place);
  draw();
}

// ---- all of it ----

const redraw = [];
function draw_again() { for (const draw of redraw) draw(); forget_removed(); }
function charts_section(id, title, draw, ...more) {
  const place = make("div", { class: "grid" });
  section(id, title, place, ...more);
  redraw.push(() => {
    const charts = draw().filter(Boolean);
    place.replaceChildren(...(charts.length ? charts : [make("p", { class: "note" }, "Nothing has been recorded yet.")]));
  });
}

function set_theme() {
  const dark = chosen.theme === "dark" || (chosen.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  draw_all();
}

function toolbar() {
  const bar = document.getElementById("toolbar");
  if (several) for (const run of runs) {
    const box = make("input", { type: "checkbox", checked: !chosen.hidden.includes(run.path), onchange: () => {
      choose("hidden", box.checked ? chosen.hidden.filter((name) => name !== run.path) : [...chosen.hidden, run.path]);
      draw_again();
    } });
    bar.append(make("label", { class: "run", title: run.path }, box, swatch_of(run), run.name, run.running ? make("span", { class: "live" }, "training") : null));
  }
  bar.append(chooser("Along", Object.entries(axes).map(([key, axis]) => [key, axis.name]), chosen.x, (value) => { choose("x", value); draw_again(); }),
    chooser("Theme", [["", "as the system"], ["light", "light"], ["dark", "dark"]], chosen.theme, (value) => { choose("theme", value); set_theme(); }));
  if (!data.reload) return;
  const live = make("input", { type: "checkbox", checked: !chosen.still, onchange: () => choose("still", !live.checked) });
  bar.append(make("label", { class: "live" }, live, `live: loads again every ${data.reload} s`));
  setInterval(() => { if (live.checked && tip.hidden && !document.hidden && document.activeElement?.type !== "search") location.reload(); }, 1000 * data.reload);
}

document.title = `${runs.map((run) => run.name).join(", ")} – chorus report`;
document.getElementById("title").textContent = several ? `${runs.length} runs` : runs[0].path;
document.getElementById("made").textContent = `Made ${data.made} by chorus ${data.version}${runs.some((run) => run.running) ? "; still training" : ""}`;
if (!metrics_there.includes(chosen.metric)) chosen.metric = metrics_there[0] ?? "loss";
main.replaceChildren();
toolbar();
overview();
charts_section("training", "Training", training);
scores();
significance();
charts_section("memory", "Memory", memory, ...plan_notes());
experts();
samples();
settings();
set_theme();
draw_again();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", set_theme);
addEventListener("beforeprint", () => { on_paper = true; document.documentElement.dataset.theme = "light"; draw_all(); });
addEventListener("afterprint", () => { on_paper = false; set_theme(); });
