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

localTimes(document);
signIn();
