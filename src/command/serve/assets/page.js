"use strict";
// The token of the address becomes a session; what follows `#` is never sent by itself.
async function signIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname + location.search);
    const body = new URLSearchParams({ token });
    await fetch("/session", { method: "POST", body, redirect: "manual" });
    location.reload();
  } else if (document.getElementById("session") && !sessionStorage.getItem("again")) {
    // A link on another site opens the page without the cookie, although there may be a session.
    const session = await fetch("/session");
    if (session.ok) {
      sessionStorage.setItem("again", "1");
      location.replace(location.href);
    }
  } else {
    sessionStorage.removeItem("again");
  }
}

// Times in the reader's own zone; the title has UTC.
function localTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const pad = (number) => String(number).padStart(2, "0");
    const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
    const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
    time.title = time.textContent;
    time.textContent = `${day} ${clock}`;
  }
}

// Parts of the page that change are fetched again when the server says that something has changed: at once, then
// at most once a second, and less often where that takes long. The status line speaks at most every two seconds.
const parts = new Map();
const partsOf = (page) => page.querySelectorAll("[data-live]");
for (const part of partsOf(document)) parts.set(part.dataset.live, part.innerHTML);
let source, waiting, wanted = false, last = 0, pause = 1000, spoken = 0, text = "";

function say(status) {
  text = status;
  const line = document.getElementById("live");
  if (!line || line.textContent === text) return;
  const wait = spoken + 2000 - Date.now();
  if (wait > 0) {
    setTimeout(() => say(text), wait);
  } else {
    spoken = Date.now();
    line.textContent = text;
  }
}

function plan() {
  wanted = true;
  waiting ??= setTimeout(refresh, Math.max(0, last + pause - Date.now()));
}

async function refresh() {
  wanted = false;
  last = Date.now();
  await update().catch(disconnected);
  pause = Math.max(1000, 4 * (Date.now() - last));
  waiting = undefined;
  if (wanted) plan();
}

async function update() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.status === 401) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.ok) return say(page.querySelector("[role=alert]")?.textContent ?? "");
  document.title = page.title;
  for (const part of partsOf(page)) {
    const name = part.dataset.live;
    const shown = document.querySelector(`[data-live="${name}"]`);
    if (!shown || parts.get(name) === part.innerHTML) continue;
    parts.set(name, part.innerHTML);
    const focused = shown.contains(document.activeElement) && document.activeElement.getAttribute("href");
    shown.replaceChildren(...part.childNodes);
    localTimes(shown);
    if (focused) shown.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    if (part.dataset.status) shown.dataset.status = part.dataset.status;
  }
  const status = page.querySelector("[data-status]")?.dataset.status;
  say(status ?? `updated ${new Date().toTimeString().slice(0, 8)}`);
}

// A browser connects again by itself, unless the server refuses: too many pages may be open.
function disconnected() {
  say("not connected: this may be out of date");
  if (source?.readyState !== EventSource.CLOSED) return;
  source = undefined;
  setTimeout(listen, 10000);
}

function listen() {
  const version = document.body.dataset.version;
  if (!version || source || document.hidden) return;
  source = new EventSource(`/events?after=${encodeURIComponent(version)}`);
  source.addEventListener("change", (event) => {
    document.body.dataset.version = event.lastEventId;
    plan();
  });
  source.addEventListener("error", disconnected);
  source.addEventListener("open", () => text.startsWith("not connected") && plan());
}

// A browser opens few connections to a server: only the pages that are looked at keep one.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = undefined;
  } else {
    listen();
  }
});

// Keys: `/` goes to the first filter, `j` and `k` from row to row, Enter opens a row's link, Escape or `u` goes up,
// `r` to the button that retries, which Enter presses. They are off while typing, and `?` turns them off and on.
const OFF = "keys-off";
const rows = () => [...document.querySelectorAll("main tbody tr a:first-of-type")].filter(
  (link, at, all) => link.offsetParent && link.closest("tr") !== all[at - 1]?.closest("tr"),
);

function move(step) {
  const all = rows();
  const row = document.activeElement.closest("tr");
  const at = all.findIndex((link) => link.closest("tr") === row);
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
  all[next]?.focus();
}

function up() {
  const crumbs = document.querySelectorAll(".crumbs a");
  crumbs[crumbs.length - 1]?.click();
}

function toggleKeys() {
  const isOff = localStorage.getItem(OFF);
  if (isOff) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
  say(isOff ? "keys are on: / j k r Enter Escape u ?" : "keys are off; ? turns them on");
}

const KEYS_OF = {
  "/": () => document.querySelector("main form.filters :is(input:not([type=hidden]), select)")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  r: () => document.querySelector('[data-key="r"]')?.focus(),
  u: up,
  Escape: up,
};

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (event.key === "?") return toggleKeys();
  const act = KEYS_OF[event.key];
  if (!act || localStorage.getItem(OFF)) return;
  event.preventDefault();
  act();
});

localTimes(document);
signIn();
listen();
