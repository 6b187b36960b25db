
const kPause = 400;  // ms without a keystroke after which a text is translated
const kAlternatives = 3;
const kLineEnd = /(\r\n|[\n\v\f\r\x85\u2028\u2029])/;

function dress() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = $("theme").value || (dark ? "dark" : "light");
}
$("theme").value = kept(local, "chorus theme");
$("theme").addEventListener("change", () => { keep(local, "chorus theme", $("theme").value); dress(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);
dress();

// ---- languages ----
let languages = [], settings = {};
const language = (code) => languages.find((one) => one.code === code);
const name_of = (code) => language(code)?.name ?? code;
const sources = () => languages.filter((one) => one.targets.length > 0);
function targets() {
  const from = language($("source").value);
  const codes = from ? from.targets : sources().flatMap((one) => one.targets);
  return languages.filter((one) => codes.includes(one.code));
}
function fill(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  select.value = options.some(([value]) => value === wanted) ? wanted : options[0]?.[0] ?? "";
}
const by_name = (list) => list.map((one) => [one.code, one.name]).sort((a, b) => a[1].localeCompare(b[1], "en"));
function fill_targets(wanted) { fill($("target"), by_name(targets()), wanted); }
function chose_languages() {
  keep(local, "chorus source", $("source").value);
  keep(local, "chorus target", $("target").value);
  detected("");
  translate();
}
let found = "";  // the language that was detected
function detected(code, confidence) {
  found = confidence > 0 ? code : "";
  $("detected").textContent = found ? `Detected: ${name_of(code)} (${Math.round(confidence)} %)` : "";
}
function swap() {
  const from = $("source").value === "auto" ? found : $("source").value, to = $("target").value;
  if (!from || !language(to)?.targets.includes(from)) {
    say(from ? `Nothing is translated from ${name_of(to)} into ${name_of(from)}.` : "Which language to swap with is not known yet.");
    return;
  }
  const text = shown.text();
  $("source").value = to;
  fill_targets(from);
  // What was typed since the translation was made stays.
  if (text && !shown.partial && !$("result").classList.contains("stale")) { $("text").value = text; count(); }
  chose_languages();
}

// ---- the text and its translation ----
const shown = {
  pieces: [], others: [], chosen: -1, partial: false,  // lines and what ends them in turn; of each line other translations
  text() { return this.pieces.join(""); },
};
function draw() {
  const lines = shown.pieces.filter((_, i) => i % 2 === 0);
  const several = lines.filter((line) => line).length > 1;
  $("result").classList.toggle("several", several);
  $("result").classList.toggle("offers", shown.others.some((of) => of.length > 0));
  $("result").classList.remove("stale");
  while ($("result").children.length > lines.length) $("result").lastChild.remove();
  lines.forEach((text, i) => {
    let line = $("result").children[i];
    if (!line) {
      line = document.createElement("p");
      line.className = "line";
      line.dir = "auto";
      line.addEventListener("click", () => { if (!getSelection().toString()) choose_line(i); });
      $("result").append(line);
    }
    if (line.textContent !== (text ?? "…")) line.textContent = text ?? "…";
    line.classList.toggle("pending", text === null);
    i === shown.chosen && several ? line.setAttribute("aria-current", "true") : line.removeAttribute("aria-current");
  });
  $("copy").disabled = shown.partial || !shown.text();
  draw_alternatives(several);
}
function draw_alternatives(several) {
  const others = shown.others[shown.chosen] ?? [];
  const offers = shown.others.some((of) => of.length > 0);
  $("alternatives").hidden = !offers;
  $("alternatives-title").textContent = !several ? "Other translations"
    : shown.chosen < 0 ? "Other translations: choose a line above" : `Other translations of line ${shown.chosen + 1}`;
  $("alternatives-list").replaceChildren(...others.map((text, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dir = "auto";
    button.lang = $("result").lang;
    button.textContent = text;
    button.title = "Take this one";
    button.addEventListener("click", () => take(i));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}
function choose_line(i) {
  shown.chosen = i;
  draw();
}
function take(i) {
  const others = shown.others[shown.chosen], at = 2 * shown.chosen;
  [shown.pieces[at], others[i]] = [others[i], shown.pieces[at]];
  draw();
  $("alternatives-list").children[i].firstChild.focus();
}
function show(reply) {
  shown.pieces = reply.translatedText.split(kLineEnd);
  shown.partial = false;
  const others = (reply.alternatives ?? []).map((text) => text.split(kLineEnd)).filter((of) => of.length === shown.pieces.length);
  shown.others = shown.pieces.filter((_, i) => i % 2 === 0)
    .map((line, i) => [...new Set(others.map((of) => of[2 * i]))].filter((text) => text && text !== line));
  const filled = shown.pieces.flatMap((text, i) => (i % 2 === 0 && text ? [i / 2] : []));
  shown.chosen = filled.length === 1 ? filled[0] : -1;
  if (reply.detectedLanguage) detected(reply.detectedLanguage.language, reply.detectedLanguage.confidence);
  draw();
}
/// Tells of lines of a text as they are done, each in its place.
function line_by_line(text) {
  const pieces = text.split(kLineEnd);
  const places = pieces.flatMap((piece, i) => (i % 2 === 0 && /\p{Alphabetic}/u.test(piece) ? [i] : []));
  const waiting = pieces.map((piece, i) => (places.includes(i) ? null : piece));
  let done = 0;
  return ({ line, lines, translatedText }) => {
    $("progress").value = ++done / lines;
    $("progress").hidden = $("stop").hidden = lines < 2;
    $("count").textContent = `${done} of ${lines} lines`;
    if (lines !== places.length) return;  // a line that was too long, and was cut
    waiting[places[line]] = translatedText;
    Object.assign(shown, { pieces: waiting, others: [], chosen: -1, partial: true });
    draw();
  };
}

let timer = 0, asked = null;
function say(text) { $("status").textContent = text; }
function busy(is) {
  $("result").setAttribute("aria-busy", String(is));
  if (is) return;
  $("stop").hidden = $("progress").hidden = true;
  $("count").textContent = "";
}
function stop() {
  clearTimeout(timer);
  asked?.abort();
  timer = 0;
  asked = null;
  busy(false);
}
function later() {
  stop();
  hide_error();
  $("result").classList.add("stale");
  timer = setTimeout(translate, kPause);
}
function hide_error() { $("error").hidden = true; }
function count() {
  const n = [...$("text").value].length, limit = settings.charLimit;
  $("counter").textContent = limit ? `${n.toLocaleString("en")} / ${limit.toLocaleString("en")}` : "";
  $("counter").title = "characters, and how many may be translated at once";
  $("counter").classList.toggle("over", n > limit);
  $("clear").hidden = n === 0;
  return !limit || n <= limit;
}
function empty() {
  Object.assign(shown, { pieces: [], others: [], chosen: -1, partial: false });
  draw();
  detected("");
  say("");
}
async function translate() {
  stop();
  hide_error();
  const text = $("text").value;
  if (!text.trim() || !$("target").value) return empty();
  if (!count()) return fail(new Refused(400, "The text is too long for one request: shorten it, or drop it as a document.", 0));
  const mine = asked = new AbortController();
  busy(true);
  say("Translating");
  $("result").lang = $("target").value.replace("_", "-");
  $("result").classList.add("stale");
  try {
    const body = { q: text, source: $("source").value, target: $("target").value, alternatives: kAlternatives };
    const reply = await ask("/translate", body, mine.signal, kLineEnd.test(text.trim()) ? line_by_line(text) : undefined);
    if (mine !== asked) return;
    show(reply);
    say("");
  } catch (error) {
    if (mine === asked) fail(error);
  }
  if (mine === asked) {
    asked = null;
    busy(false);
  }
}
function fail(error) {
  say("");
  if ($("source").value === "auto") detected("");
  Object.assign(shown, { others: [], chosen: -1 });
  draw();
  $("result").classList.add("stale");
  $("error").hidden = false;
  if (needs_key(error)) {
    $("key-form").hidden = false;
    $("error").textContent = error.status === 403 ? "The server does not know this key." : "This server needs an API key: enter it above.";
    return;
  }
  $("error").textContent = error.message;
  if (passes(error)) again_in(error.wait || 1, error, $("error"), (set) => { timer = set; }, translate);
}
/// Acts after so many seconds, of which the reader is told, who hears of it once; `hold` is given what ends it.
function again_in(seconds, error, where, hold, act) {
  const left = element("span", "");
  left.setAttribute("aria-hidden", "true");
  where.textContent = `${error.message} Trying again`;
  where.append(left);
  const tick = (n) => {
    left.textContent = ` in ${n} s.`;
    hold(setTimeout(() => (n > 1 ? tick(n - 1) : act()), 1000));
  };
  tick(seconds);
}
async function copy() {
  const text = shown.text();
  if (!text || shown.partial) return;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page that came without TLS from another machine
    const give = (event) => {
      event.preventDefault();
      event.clipboardData.setData("text/plain", text);
    };
    document.addEventListener("copy", give, { once: true });
    document.execCommand("copy");
  }
  say("Copied");
}

// ---- events ----
$("text").addEventListener("input", () => { count(); later(); });
$("source").addEventListener("change", () => { fill_targets($("target").value); chose_languages(); });
$("target").addEventListener("change", chose_languages);
$("swap").addEventListener("click", swap);
$("copy").addEventListener("click", copy);
$("stop").addEventListener("click", () => { stop(); say("Stopped"); $("text").focus(); });
$("clear").addEventListener("click", () => { $("text").value = ""; count(); translate(); $("text").focus(); });
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => { add_documents($("files").files); $("files").value = ""; });
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!/^[\x21-\x7e]*$/.test(key)) {  // no header can have it
    fail(new Refused(400, "The key has characters that no key has: copy it anew.", 0));
    return;
  }
  keep(session, "chorus key", key);
  $("key").value = "";
  show_key();
  translate();
});
$("forget").addEventListener("click", () => { keep(session, "chorus key", ""); show_key(); $("key").focus(); });
function show_key() {
  const has = kept(session, "chorus key") !== "";
  $("forget").hidden = !has;
  $("key").placeholder = has ? "A key is there" : "";
}
$("result").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !$("result").classList.contains("several")) return;
  event.preventDefault();
  const lines = shown.pieces.length / 2;
  let i = shown.chosen;
  do i += step; while (i >= 0 && i < lines && !shown.pieces[2 * i]);
  if (i < 0 || i >= lines) return;
  choose_line(i);
  $("result").children[i].scrollIntoView({ block: "nearest" });
});
document.addEventListener("keydown", (event) => {
  const act = event.ctrlKey && event.key === "Enter" ? translate
    : event.key === "Escape" && (asked || timer) ? () => $("stop").click()
    : event.altKey && event.shiftKey ? { KeyS: swap, KeyC: copy, KeyO: () => $("choose").click() }[event.code] : null;
  if (!act) return;
  event.preventDefault();
  act();
});
const has_files = (event) => event.dataTransfer?.types.includes("Files");  // which a browser would else open in the page's place
document.addEventListener("dragover", (event) => { if (has_files(event)) { event.preventDefault(); $("drop").hidden = !settings.filesTranslation; } });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
document.addEventListener("drop", (event) => {
  if (!has_files(event)) return;
  event.preventDefault();
  $("drop").hidden = true;
  if (settings.filesTranslation) add_documents(event.dataTransfer.files);
});

async function begin() {
  try {
    [settings, languages] = await Promise.all([ask("/frontend/settings"), ask("/languages")]);
  } catch (error) {
    $("error").hidden = false;
    return again_in(5, error, $("error"), () => {}, begin);  // whatever is typed meanwhile
  }
  hide_error();
  fill($("source"), [["auto", "Auto-detect"], ...by_name(sources())], kept(local, "chorus source") || settings.language.source.code);
  fill_targets(kept(local, "chorus target") || settings.language.target.code);
  $("documents").hidden = !settings.filesTranslation;
  $("formats").textContent = settings.supportedFilesFormat.join(", ");
  $("files").accept = settings.supportedFilesFormat.join(",");
  $("key-form").hidden = !settings.keyRequired;
  show_key();
  count();
  if ($("text").value) translate();  // which the browser has kept over a reload
}
begin();
