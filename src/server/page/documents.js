
// ---- documents: one after the other ----
const documents = [];
function element(name, class_name, text) {
  const made = document.createElement(name);
  made.className = class_name;
  made.textContent = text ?? "";
  return made;
}
function button(text, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}
function add_documents(files) {
  for (const file of files) {
    const item = element("li", "");
    const one = { file, item, name: element("span", "name"), says: element("span", "says"), bar: element("progress", ""), acts: element("span", "acts") };
    one.bar.max = 1;
    one.bar.setAttribute("aria-label", `How much of ${file.name} is translated`);
    item.append(one.name, one.acts, one.says, one.bar);
    $("document-list").append(item);
    documents.push(one);
    const dot = file.name.lastIndexOf(".");
    if (dot >= 0 && settings.supportedFilesFormat.includes(file.name.slice(dot).toLowerCase())) line_up(one);
    else {
      one.name.textContent = file.name;
      change(one, "failed", `No document that can be translated: those are ${settings.supportedFilesFormat.join(", ")}.`, true);
    }
  }
}
/// For the languages that are chosen now.
function line_up(one) {
  one.source = $("source").value;
  one.target = $("target").value;
  one.name.textContent = `\u2068${one.file.name}\u2069 → ${name_of(one.target)}`;  // whatever way it is written
  change(one, "waiting", "Waits for the others");
  next_document();
}
function change(one, state, text, for_good) {
  one.state = state;
  one.says.textContent = text;
  if (state === "done" || state === "failed") $("news").textContent = `${one.file.name}: ${text}`;
  one.says.classList.toggle("error", state === "failed");
  one.says.classList.toggle("note", state !== "failed");
  one.bar.hidden = state !== "running";
  if (state === "running") one.bar.value = 0;
  one.acts.replaceChildren();
  const label = (made, what) => { made.setAttribute("aria-label", `${what} ${one.file.name}`); return made; };
  if (state === "running" || state === "waiting") one.acts.append(label(button("Cancel", () => cancel(one)), "Cancel"));
  if ((state === "failed" && !for_good) || state === "cancelled") one.acts.append(label(button("Try again", () => line_up(one)), "Try again"));
  if (state === "failed" || state === "cancelled") one.acts.append(label(button("Remove", () => { one.item.remove(); $("choose").focus(); }), "Remove"));
}
function cancel(one) {
  clearTimeout(one.timer);
  one.asked?.abort();
  change(one, "cancelled", "Cancelled");
  next_document();
}
async function next_document() {
  if (documents.some((one) => one.state === "running")) return;
  const one = documents.find((of) => of.state === "waiting");
  if (!one) return;
  change(one, "running", "Being sent");
  const form = new FormData();
  form.append("source", one.source);
  form.append("target", one.target);
  form.append("file", one.file);
  const mine = one.asked = new AbortController();
  let done = 0;
  try {
    const reply = await ask("/translate_file", form, mine.signal, ({ lines }) => {
      one.bar.value = ++done / lines;
      one.says.textContent = `${done} of ${lines} parts`;
    });
    const link = element("a", "", "Download");
    link.href = new URL(reply.translatedFileUrl, location.href).pathname;  // of this server, whatever it is called there
    link.download = "";
    const from = reply.detectedLanguage?.confidence ? `, from ${name_of(reply.detectedLanguage.language)}` : "";
    change(one, "done", `Translated${from}. The server keeps it for ten minutes.`);
    link.setAttribute("aria-label", `Download the translation of ${one.file.name}`);
    one.acts.append(link);
  } catch (error) {
    if (mine !== one.asked || one.state !== "running") return;
    if (passes(error)) {
      return again_in(error.wait || 1, error, one.says, (set) => { one.timer = set; }, () => { one.state = "waiting"; next_document(); });
    }
    if (needs_key(error)) $("key-form").hidden = false;
    change(one, "failed", error.message);
  }
  next_document();
}
