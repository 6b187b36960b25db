// Charts: curves as SVG, heat maps as canvas, one tip for the value under the pointer or the arrow keys.
const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; text is only ever put in as text.
function make(tag, attributes = {}, ...children) {
  const is_svg = ["svg", "g", "path", "line", "text", "rect", "circle", "title"].includes(tag);
  const element = is_svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const formats = {
  number: (x) => (Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-3) ? trim(x.toExponential(2)) : digits(x)),
  rate: (x) => (Math.abs(x) >= 1000 ? count(x) : digits(x)),
  count,
  percent: (x) => digits(100 * x) + " %",
  bytes: (x) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let i = 0;
    for (; Math.abs(x) >= 1024 && i + 1 < units.length; ++i) x /= 1024;
    return `${i === 0 ? x : digits(x)} ${units[i]}`;
  },
  hours: (x) => (x < 1 ? digits(60 * x) + " min" : digits(x) + " h"),
};
function trim(text) { return text.replace(/\.?0+e/, "e").replace("e+", "e"); }
function digits(x) {
  if (x === 0) return "0";
  if (Math.abs(x) >= 1e9) return trim(x.toExponential(2));
  const places = Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(Math.abs(x)))));
  const text = x.toFixed(places);
  return places > 0 ? text.replace(/\.?0+$/, "") : text;
}
function count(x) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (Math.abs(x) >= size * (size === 1e3 ? 10 : 1)) return digits(x / size) + unit;
  return digits(x);
}
function seconds(exact) {
  const x = Math.round(exact);
  if (x < 60) return `${x} s`;
  if (x < 3600) return `${Math.floor(x / 60)} min ${x % 60} s`;
  return `${Math.floor(x / 3600)} h ${String(Math.floor((x % 3600) / 60)).padStart(2, "0")} min`;
}

// Round numbers from low to high; steps of 1, 2 or 5, of bytes times a power of 1024.
function ticks(low, high, most, is_bytes) {
  let span = high - low || Math.abs(high) || 1, unit = 1;
  if (is_bytes) while (span / unit >= 1024) unit *= 1024;
  span /= unit;
  const raw = span / most, power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = unit * power * [1, 2, 5, 10].find((n) => n * power >= raw * 0.999);
  const list = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) list.push(i * step);
  return list;
}
function log_ticks(low, high) {
  if (high < 10 * low) return ticks(low, high, 5);
  const list = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e)
    for (const m of [1, 2, 5]) {
      const x = m * Math.pow(10, e);
      if (x >= low * 0.999 && x <= high * 1.001) list.push(x);
    }
  if (list.length <= 7) return list;
  const decades = list.filter((x) => Math.abs(Math.log10(x) - Math.round(Math.log10(x))) < 1e-9);
  return decades.filter((_, i) => i % Math.ceil(decades.length / 7) === 0);
}

// ---- the tip ----

const tip = document.getElementById("tip");
function show_tip(x, y, lines) {
  tip.replaceChildren(...lines);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width > innerWidth ? x - box.width - 14 : x + 14;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - box.height - 4)) + "px";
}
function hide_tip() { tip.hidden = true; }
function tip_line(name, value, style, dashed) {
  const swatch = style ? make("span", { class: dashed ? "swatch dashed" : "swatch", style: `border-color:${style}` }) : null;
  return make("div", {}, swatch, make("span", {}, name), make("b", {}, value));
}

// What is drawn again when its width or the theme changes; on paper as wide as the columns of style.css are there.
const drawn = [];
let on_paper = false;
function draw_in(box, draw) {
  const paper_width = () => (box.closest(".small") ? 225 : 345);
  const again = () => { if (box.isConnected) draw(on_paper ? paper_width() : Math.max(220, box.clientWidth || 400)); };
  drawn.push({ box, again });
  new ResizeObserver(() => { if (box.clientWidth !== box.last_width) { box.last_width = box.clientWidth; requestAnimationFrame(again); } }).observe(box);
}
function forget_removed() { drawn.splice(0, drawn.length, ...drawn.filter((one) => one.box.isConnected)); }
function draw_all() { for (const one of drawn) one.again(); }

// ---- curves ----

// chart: {title, unit, x: {name, format}, y: {format, log, from_zero, is_bytes}, height,
//         series: [{name, color, dashed, dots, x, y, low, high}], limits: [{name, color, value}]}
function curves(chart) {
  const box = make("figure", { class: "card" });
  const heading = make("h3", {}, chart.title, chart.unit ? make("span", { class: "unit" }, ` ${chart.unit}`) : null);
  const place = make("div");
  box.append(heading, place);
  if (chart.limits?.length)
    box.append(make("div", { class: "key" }, ...chart.limits.map((limit) => make("span", {}, make("span", { class: "swatch dashed", style: `border-color:${limit.color}` }), ` ${limit.name} ${chart.y.format(limit.value)}`))));
  draw_in(place, (width) => place.replaceChildren(curves_svg(chart, width)));
  return box;
}

function extent(chart) {
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  const is_shown = (y) => y !== null && (!chart.y.log || y > 0);
  for (const s of chart.series)
    s.x.forEach((x, i) => {
      if (!is_shown(s.y[i])) return;
      x0 = Math.min(x0, x); x1 = Math.max(x1, x);
      y0 = Math.min(y0, s.y[i]); y1 = Math.max(y1, s.y[i]);
    });
  // Of the bands as much as is not a rare peak.
  for (const s of chart.series.filter((one) => one.low)) {
    const [lows, highs] = [s.low, s.high].map((list) => list.filter(is_shown).sort((a, b) => a - b));
    if (!lows.length) continue;
    y0 = Math.min(y0, lows[Math.floor(lows.length * 0.05)]); y1 = Math.max(y1, highs[Math.floor((highs.length - 1) * 0.95)]);
  }
  for (const limit of chart.limits ?? []) { y0 = Math.min(y0, limit.value); y1 = Math.max(y1, limit.value); }
  if (chart.y.from_zero) y0 = Math.min(0, y0);
  if (x0 === x1) { x0 -= 0.5; x1 += 0.5; }
  if (y0 === y1) { const d = Math.abs(y0) * 0.1 || 1; if (!chart.y.log && !chart.y.from_zero) y0 -= d; y1 += d; }
  if (!chart.y.log && !chart.y.from_zero) { const d = (y1 - y0) * 0.04; y0 -= d; y1 += d; }
  if (chart.y.from_zero) y1 += (y1 - y0) * 0.06;
  return { x0, x1, y0, y1 };
}

function curves_svg(chart, width) {
  const height = chart.height ?? 230, right = 12, top = 10, bottom = 38;
  const { x0, x1, y0, y1 } = extent(chart);
  const summary = chart.series.map((s) => `${s.name}: last ${last_text(s, chart)}`).join("; ");
  const svg = make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-label": `${chart.title}. ${summary}. Arrow keys move along it.` });
  if (!isFinite(y0)) {
    svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "no numbers yet"));
    return svg;
  }
  const y_ticks = chart.y.log ? log_ticks(y0, y1) : ticks(y0, y1, 5, chart.y.is_bytes);
  const names = y_ticks.map((y) => tick_text(y, y_ticks, chart.y.format));
  const left = 12 + 6.6 * Math.max(...names.map((name) => name.length), 2);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const scaled = chart.y.log ? (y) => (Math.log(y) - Math.log(y0)) / (Math.log(y1) - Math.log(y0)) : (y) => (y - y0) / (y1 - y0);
  const py = (y) => height - bottom - Math.max(0, Math.min(1, scaled(y))) * (height - top - bottom);
  y_ticks.forEach((y, i) => {
    svg.append(make("line", { class: "grid-line", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
    svg.append(make("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, names[i]));
  });
  const x_ticks = ticks(x0, x1, Math.max(2, Math.min(7, Math.floor((width - left) / 80))));
  for (const x of x_ticks) {
    svg.append(make("line", { class: "axis", x1: px(x), x2: px(x), y1: height - bottom, y2: height - bottom + 4 }));
    svg.append(make("text", { x: px(x), y: height - bottom + 16, "text-anchor": px(x) > width - 24 ? "end" : "middle" }, tick_text(x, x_ticks, chart.x.format)));
  }
  svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, chart.x.name));
  for (const s of chart.series) draw_series(svg, s, chart, px, py);
  for (const limit of chart.limits ?? [])
    svg.append(make("line", { class: "limit", x1: left, x2: width - right, y1: py(limit.value), y2: py(limit.value), style: `stroke:${limit.color}` }));
  follow_pointer(svg, chart, { px, py, left, width, right, top, height, bottom });
  return svg;
}

// As many digits as tell the ticks apart.
function tick_text(x, all, format) {
  const text = format(x);
  return all.some((other) => other !== x && format(other) === text) ? String(Number(x.toPrecision(6))) : text;
}
function last_text(s, chart) {
  const i = s.y.findLastIndex((y) => y !== null);
  return i < 0 ? "none" : chart.y.format(s.y[i]);
}

function draw_series(svg, s, chart, px, py) {
  const is_shown = (y) => y !== null && y !== undefined && (!chart.y.log || y > 0);
  let line = "", begun = false, top = [], under = [];
  const flush = () => {
    if (top.length > 1) svg.append(make("path", { class: "band", d: `M${top.join("L")}L${under.reverse().join("L")}Z`, style: `fill:${s.color}` }));
    top = []; under = [];
  };
  s.x.forEach((x, i) => {
    if (!is_shown(s.y[i])) { begun = false; flush(); return; }
    line += `${begun ? "L" : "M"}${px(x).toFixed(1)} ${py(s.y[i]).toFixed(1)}`;
    const alone = !begun && !is_shown(s.y[i + 1]);
    if (s.dots || alone) svg.append(make("circle", { cx: px(x), cy: py(s.y[i]), r: 2.4, style: `fill:${s.color}` }));
    begun = true;
    if (s.low && is_shown(s.low[i])) { top.push(`${px(x).toFixed(1)} ${py(s.high[i]).toFixed(1)}`); under.push(`${px(x).toFixed(1)} ${py(s.low[i]).toFixed(1)}`); }
  });
  flush();
  svg.append(make("path", { class: "curve", d: line || "M0 0", style: `stroke:${s.color}`, "stroke-dasharray": s.dashed ? "5 3" : undefined }));
}

function follow_pointer(svg, chart, { px, left, width, right, top, height, bottom }) {
  const rule = make("line", { class: "rule", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(rule);
  const places = [...new Set(chart.series.flatMap((s) => s.x.filter((x, i) => s.y[i] !== null)))].sort((a, b) => a - b);
  const nearest = (list, x) => list.reduce((best, other, i) => (Math.abs(other - x) < Math.abs(list[best] - x) ? i : best), 0);
  let at = places.length - 1;
  const show = (i) => {
    at = Math.max(0, Math.min(places.length - 1, i));
    const x = places[at], box = svg.getBoundingClientRect(), scale = box.width / width;
    rule.setAttribute("x1", px(x)); rule.setAttribute("x2", px(x)); rule.setAttribute("visibility", "visible");
    const reach = (places[places.length - 1] - places[0]) / 40 || 1;
    const lines = chart.series.flatMap((s) => {
      const there = s.x.map((_, k) => k).filter((k) => s.y[k] !== null);
      if (!there.length) return [];
      const k = there.reduce((best, other) => (Math.abs(s.x[other] - x) < Math.abs(s.x[best] - x) ? other : best));
      if (Math.abs(s.x[k] - x) > reach) return [];
      const spread = s.low && s.low[k] !== s.high[k] ? ` (${chart.y.format(s.low[k])} to ${chart.y.format(s.high[k])})` : "";
      return [tip_line(s.name, chart.y.format(s.y[k]) + spread, s.color, s.dashed)];
    });
    show_tip(box.left + px(x) * scale, box.top + top * scale + 10, [make("div", {}, make("span", {}, chart.x.name), make("b", {}, chart.x.format(x))), ...lines]);
  };
  const hide = () => { rule.setAttribute("visibility", "hidden"); hide_tip(); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), scale = box.width / width;
    show(nearest(places.map(px), (event.clientX - box.left) / scale));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(at); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => move_by_keys(event, { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 }, (by) => show(at + by), hide));
}

function move_by_keys(event, steps, move, hide) {
  if (event.key === "Escape") hide();
  if (!(event.key in steps)) return;
  event.preventDefault();
  move(steps[event.key]);
}

// ---- heat maps ----

function css_color(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
}
function mixed(a, b, t) { return a.map((x, i) => Math.round(x + (b[i] - x) * t)); }

// Colours of a scale: diverging around 1 by factors (up to 8), or from `least` to `most`, by the root unless `linear`.
function colors_of(scale) {
  const cold = css_color("--cold"), even = css_color("--even"), hot = css_color("--hot"), full = css_color("--full"), none = css_color("--none");
  return (value) => {
    if (value === null) return null;
    if (scale.around_one) {
      if (value === 0) return none;
      const t = Math.max(-1, Math.min(1, Math.log2(value) / 3));
      return t < 0 ? mixed(even, cold, -t) : mixed(even, hot, t);
    }
    const t = Math.max(0, Math.min(1, (value - scale.least) / (scale.most - scale.least || 1)));
    return mixed(even, full, scale.linear ? t : Math.sqrt(t));
  };
}

// map: {title, unit, rows, columns, value(row, column), text(value), row_name(row), column_name(column),
//       row_ticks: [row], column_ticks: [[column, text]], x_name, row_title, scale, key: [low, high]}
function heat_map(map) {
  const box = make("figure", { class: "card heat" });
  box.append(make("h3", {}, map.title, map.unit ? make("span", { class: "unit" }, ` ${map.unit}`) : null));
  const canvas = make("canvas", { width: map.columns, height: map.rows, tabindex: 0, role: "img",
    "aria-label": `${map.title}, ${map.rows} rows by ${map.columns} columns. Arrow keys move in it.` });
  const names = make("div", { class: "names" }), below = make("div", { class: "below" });
  const longest = Math.max(...map.row_ticks.map((row) => map.row_name(row).length), 1);
  names.style.width = `${Math.min(14, 0.62 * longest + 0.4)}em`;
  const place = make("div", { class: "row" }, names, canvas, below);
  const key = make("div", { class: "key" });
  box.append(place, key);
  draw_in(place, (width) => paint(map, { canvas, names, below, key, width: width - names.offsetWidth }));
  follow_cells(map, canvas);
  return box;
}

function paint(map, { canvas, names, below, key, width }) {
  const each = Math.max(map.rows <= 12 ? 18 : map.rows <= 40 ? 10 : map.rows <= 80 ? 5 : 3, 1), height = each * map.rows;
  canvas.style.height = `${height}px`;
  const color = colors_of(map.scale), context = canvas.getContext("2d"), image = context.createImageData(map.columns, map.rows);
  for (let row = 0; row < map.rows; ++row)
    for (let column = 0; column < map.columns; ++column) {
      const rgb = color(map.value(row, column));
      if (rgb) image.data.set([...rgb, 255], 4 * (row * map.columns + column));
    }
  context.putImageData(image, 0, 0);
  let last = -Infinity;
  names.replaceChildren(...map.row_ticks.flatMap((row) => {
    const y = (row + 0.5) * each;
    if (y - last < 11) return [];
    last = y;
    return [make("span", { style: `top:${y}px` }, map.row_name(row))];
  }));
  const wide = 6.4 * Math.max(...map.column_ticks.map(([, text]) => text.length), 1) + 8;
  const every = Math.max(1, Math.ceil((map.column_ticks.length * wide) / width));
  below.replaceChildren(...map.column_ticks.filter((_, i) => i % every === 0).map(([column, text]) => {
    const share = 100 * ((column + 0.5) / map.columns);
    return make("span", { style: `left:${share}%;transform:translateX(-${share}%)` }, text);
  }), make("span", { class: "title" }, map.x_name));
  const stops = map.scale.around_one ? [0.125, 0.25, 0.5, 1, 2, 4, 8] : [0, 0.05, 0.1, 0.25, 0.5, 1].map((t) => map.scale.least + t * (map.scale.most - map.scale.least));
  const at = map.scale.around_one ? (i) => (100 * i) / 6 : (i) => [0, 5, 10, 25, 50, 100][i];
  const gradient = stops.map((value, i) => `rgb(${color(value).join(" ")}) ${at(i)}%`).join(",");
  key.replaceChildren(make("span", {}, map.key[0]), make("i", { style: `background:linear-gradient(90deg,${gradient})` }), make("span", {}, map.key[1]));
  if (map.scale.around_one) key.append(make("i", { style: `background:rgb(${css_color("--none").join(" ")});width:.9rem` }), make("span", {}, "nothing"));
}

function follow_cells(map, canvas) {
  let row = 0, column = map.columns - 1;
  const show = (r, c) => {
    row = Math.max(0, Math.min(map.rows - 1, r));
    column = Math.max(0, Math.min(map.columns - 1, c));
    const box = canvas.getBoundingClientRect(), value = map.value(row, column);
    show_tip(box.left + ((column + 0.5) / map.columns) * box.width, box.top + ((row + 0.5) / map.rows) * box.height, [
      make("div", {}, `${map.row_title} ${map.row_name(row)}`), make("div", {}, map.column_name(column)),
      make("div", {}, make("b", {}, value === null ? "none" : map.text(value)))]);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    show(Math.floor(((event.clientY - box.top) / box.height) * map.rows), Math.floor(((event.clientX - box.left) / box.width) * map.columns));
  });
  canvas.addEventListener("pointerleave", hide_tip);
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) show(row, column); });
  canvas.addEventListener("blur", hide_tip);
  const across = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }, down = { ArrowUp: -1, ArrowDown: 1 };
  canvas.addEventListener("keydown", (event) => {
    move_by_keys(event, across, (by) => show(row, column + by), hide_tip);
    move_by_keys(event, down, (by) => show(row + by, column), () => {});
  });
}
