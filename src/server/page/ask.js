const $ = (id) => document.getElementById(id);

// ---- what a browser keeps: languages and theme for good, the key for the tab ----
function kept(store, name) {
  try { return store().getItem(name) ?? ""; } catch { return ""; }
}
function keep(store, name, value) {
  try { value ? store().setItem(name, value) : store().removeItem(name); } catch { /* a browser that keeps nothing */ }
}
const local = () => localStorage, session = () => sessionStorage;

// ---- the server ----
class Refused extends Error {
  constructor(status, message, wait) { super(message); this.status = status; this.wait = wait; }
}
/// JSON of the reply. A body goes as JSON, a form as it is; with `on_line` the server tells of lines as they are done.
async function ask(path, body, signal, on_line) {
  const headers = {}, key = kept(session, "chorus key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (on_line) headers.Accept = "text/event-stream";
  if (body && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let reply;
  try {
    reply = await fetch(path, { method: body ? "POST" : "GET", headers, body, signal });
    if (reply.ok && reply.headers.get("Content-Type").startsWith("text/event-stream")) return await events(reply, on_line);
    const json = await reply.json().catch((error) => {
      if (reply.ok || error.name === "AbortError") throw error;
      return { error: `The server, or a proxy before it, answers ${reply.status}` };
    });
    if (reply.ok) return json;
    throw new Refused(reply.status, /[.!?]$/.test(json.error) ? json.error : `${json.error}.`, Number(reply.headers.get("Retry-After")));
  } catch (error) {
    if (error instanceof Refused || error.name === "AbortError") throw error;
    throw new Refused(0, reply ? "The server's reply was cut." : "The server cannot be reached.", 0);
  }
}
async function events(reply, on_line) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) throw new Error("no end");
    const all = (text + value).split("\n\n");
    text = all.pop();
    for (const event of all) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: ([^\n]*)$/);
      const json = JSON.parse(data);
      if (name === "done") return json;
      if (name === "error") throw new Refused(500, json.error, 0);
      on_line(json);
    }
  }
}
const needs_key = (error) => [400, 403].includes(error.status) && /API key/.test(error.message);
const passes = (error) => [429, 503].includes(error.status);
