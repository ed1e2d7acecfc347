"use strict";
// Shows what templates give for an event, 300 ms after the last key. The server makes the message.
const root = document.getElementById("preview");
const field = (name) => root.querySelector(`[name="${name}"]`);
const byId = (id) => document.getElementById(id);
// Not every kind takes each of them.
const KEYS = ["subject", "message", "body"].filter((key) => root && field(key));
let timer, asking;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Code and bold, which all chats show alike. Everything else stays text.
function formatted(text) {
  const part = element("div", "text");
  const marks = /```([\s\S]*?)```|`([^`\n]+)`|\*\*?([^*\n]+)\*\*?/g;
  let from = 0;
  for (const found of text.matchAll(marks)) {
    part.append(text.slice(from, found.index));
    const [all, block, code, bold] = found;
    part.append(element(bold ? "strong" : "code", block ? "block" : "", block ?? code ?? bold));
    from = found.index + all.length;
  }
  part.append(text.slice(from));
  return part;
}

function card(draft) {
  const made = element("div", `card level-${draft.level}`);
  made.append(element("strong", "", draft.subject));
  if (draft.text) made.append(formatted(draft.text));
  if (draft.fields.length) {
    const list = element("dl");
    for (const [name, value] of draft.fields) list.append(element("dt", "", name), element("dd", "", value));
    made.append(list);
  }
  return made;
}

function seen(draft) {
  if (draft.mail) {
    const frame = element("iframe", "mail");
    frame.title = "Mail";
    frame.setAttribute("sandbox", "");
    frame.src = draft.mail;
    return [element("p", "", draft.subject), frame];
  }
  if (draft.kind === "twilio") {
    const text = [draft.subject, draft.text].filter(Boolean).join("\n");
    return [element("p", "bubble text", text), element("p", "quiet", `${text.length} characters`)];
  }
  if (draft.subject !== null) return [card(draft)];
  return [element("p", "", "It sends data, which is in the request below.")];
}

function lines() {
  const written = KEYS.filter((key) => field(key).value !== "").map((key) => {
    const value = field(key).value.split("\n");
    return value.length === 1 ? `${key} = ${value[0]}` : `${key} =\n    ${value.join("\n    ")}`;
  });
  return written.join("\n");
}

function wish() {
  const about = field("about").value;
  const changed = KEYS.filter((key) => field(key).value !== field(key).defaultValue);
  const asked = Object.fromEntries(changed.map((key) => [key, field(key).value]));
  if (about.startsWith("run:")) return { ...asked, run: about.slice(4) };
  return { ...asked, event: about === "own" ? JSON.parse(field("own").value) : about };
}

function complain(problems) {
  for (const key of KEYS) {
    const own = problems.filter((problem) => problem.field === key);
    byId(`${key}-mistake`).textContent = own.map((problem) => problem.text).join("\n");
    field(key).toggleAttribute("aria-invalid", own.length > 0);
    if (own.length) field(key).setAttribute("aria-invalid", "true");
  }
  const others = problems.filter((problem) => !KEYS.includes(problem.field));
  byId("mistake").textContent = others.map((problem) => problem.text).join("\n");
}

async function show() {
  byId("lines").textContent = lines();
  let body;
  try {
    body = JSON.stringify(wish());
  } catch (error) {
    return complain([{ field: "", text: `the event is not JSON: ${error.message}` }]);
  }
  asking?.abort();
  asking = new AbortController();
  const headers = { "Content-Type": "application/json" };
  const path = `/api/v1/notifiers/${root.dataset.notifier}/preview`;
  const answer = await fetch(path, { method: "POST", headers, body, signal: asking.signal });
  const draft = await answer.json();
  if (!answer.ok) return complain([{ field: "", text: draft.error }]);
  complain(draft.problems);
  byId("message").replaceChildren(...seen(draft));
  byId("request").textContent = draft.request ?? `cannot be shown: ${draft.problem}`;
  byId("event").textContent = draft.event;
  byId("note").textContent = draft.note ?? "";
}

function failed(error) {
  if (error.name !== "AbortError") complain([{ field: "", text: "not connected" }]);
}

if (root) {
  root.addEventListener("input", () => {
    const isOwn = field("about").value === "own";
    if (isOwn && byId("own").hidden) field("own").value = byId("event").textContent;
    byId("own").hidden = !isOwn;
    byId("event").hidden = isOwn;
    clearTimeout(timer);
    timer = setTimeout(() => show().catch(failed), 300);
  });
  show().catch(failed);
}
