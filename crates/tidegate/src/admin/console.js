// The console: asks the admin API with the token that it was given, and shows what it says.
"use strict";

// What is asked for beside the status, with the key of the list in the answer.
const LISTS = [
  ["Moves to new services", "/api/v1/stranglers", "stranglers"],
  ["Copies of requests", "/api/v1/mirrors", "mirrors"],
  ["Caches", "/api/v1/caches", "caches"],
  ["Budgets", "/api/v1/budgets", "budgets"],
];
// Parts of the status that are lists, in the order in which they are shown.
const PARTS = [
  ["Upstreams", "upstreams"],
  ["Set by hand", "byHand"],
  ["Providers of models", "providers"],
  ["Brokers", "brokers"],
  ["Subscriptions", "subscriptions"],
  ["Access logs", "sinks"],
  ["Certificates", "certificates"],
  ["Issuers of tokens", "tokenIssuers"],
];
const EVERY = 5000;
const SHOWN_MAX = 200;
// States in which somebody should look.
const BAD = new Set(["OPEN", "FORCED_OPEN", "DISABLED", "RETURNED", "FORCED_OLD", "FORCED_NEW", "expired", "missing"]);

const at = (id) => document.getElementById(id);
let token = sessionStorage.getItem("tidegate-token");
let timer;
// Which look is the last one: an earlier one that is still on its way shows nothing, and is not followed by another.
let looks = 0;

function made(tag, text) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  return one;
}

async function ask(path, method, body) {
  const headers = { authorization: "Bearer " + token };
  const answer = await fetch(path, { method: method || "GET", headers, body, cache: "no-store" });
  if (answer.status === 401) {
    const error = new Error("the token is not the gateway's");
    error.isRefused = true;
    throw error;
  }
  // Whoever stands between may answer something else.
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error((told && told.detail) || answer.status + " " + answer.statusText);
  if (told === null) throw new Error("the answer of " + path + " is no JSON");
  return told;
}

function written(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") {
    if (typeof value.state === "string") return value.state;
    return JSON.stringify(value);
  }
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
}

// A button that sets the state of something, and says what it did.
function button(text, path, state) {
  const one = made("button", text);
  one.addEventListener("click", async () => {
    if (!confirm(text + "?")) return;
    try {
      await ask(path, "PUT", JSON.stringify({ state }));
    } catch (error) {
      // It stays to be read: the next look would take it away at once.
      clearTimeout(timer);
      looks += 1;
      trouble(error);
      timer = setTimeout(show, EVERY);
      return;
    }
    show();
  });
  return one;
}

function operations(title, row) {
  const name = encodeURIComponent(row.name);
  if (title === "Upstreams" && row.breaker) {
    const path = "/api/v1/upstreams/" + name + "/breaker";
    const isForced = row.breaker.state === "FORCED_OPEN" || row.breaker.state === "DISABLED";
    return isForced
      ? [button("Close the breaker of " + row.name, path, "CLOSED")]
      : [button("Force open the breaker of " + row.name, path, "FORCED_OPEN")];
  }
  if (title === "Moves to new services") {
    const path = "/api/v1/stranglers/" + encodeURIComponent(row.route) + "/" + encodeURIComponent(row.rule);
    return row.state.startsWith("FORCED")
      ? [button("Let " + row.rule + " go on", path, "AUTO")]
      : [button("Everybody back from " + row.rule, path, "FORCED_OLD")];
  }
  return [];
}

function part(title, rows) {
  const section = made("section");
  section.append(made("h2", title + " (" + rows.length + ")"));
  const columns = [];
  for (const row of rows) for (const key of Object.keys(row)) if (!columns.includes(key)) columns.push(key);
  const table = made("table");
  const head = made("tr");
  for (const column of columns) head.append(made("th", column));
  table.append(head);
  for (const row of rows.slice(0, SHOWN_MAX)) {
    const line = made("tr");
    for (const column of columns) {
      const text = written(row[column]);
      const cell = made("td", text);
      if (BAD.has(text)) cell.className = "bad";
      line.append(cell);
    }
    const cell = made("td");
    cell.append(...operations(title, row));
    line.append(cell);
    table.append(line);
  }
  const scroll = made("div");
  scroll.className = "scroll";
  scroll.append(table);
  section.append(scroll);
  return section;
}

function trouble(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

async function show() {
  clearTimeout(timer);
  if (!token) return;
  const look = ++looks;
  try {
    const status = await ask("/api/v1/status");
    const lists = await Promise.all(
      LISTS.map(async ([title, path, key]) => [title, (await ask(path))[key]])
    );
    if (look !== looks) return;
    at("trouble").hidden = true;
    at("door").hidden = true;
    at("leave").hidden = false;
    at("summary").textContent =
      "Version " + status.version + ", revision " + status.revision + ", " + status.connections + " connections" +
      (status.draining ? ", draining" : "");
    const all = PARTS.map(([title, key]) => [title, status[key]]).concat(lists);
    const shown = all.filter(([, rows]) => Array.isArray(rows) && rows.length > 0);
    at("parts").replaceChildren(...shown.map(([title, rows]) => part(title, rows)));
    sessionStorage.setItem("tidegate-token", token);
  } catch (error) {
    if (look !== looks) return;
    trouble(error);
    if (error.isRefused || at("parts").childElementCount === 0) at("door").hidden = false;
    // Nobody asks again with what was refused.
    if (error.isRefused) {
      token = null;
      sessionStorage.removeItem("tidegate-token");
      return;
    }
  }
  timer = setTimeout(show, EVERY);
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  at("token").value = "";
  show();
});
at("leave").addEventListener("click", () => {
  sessionStorage.removeItem("tidegate-token");
  location.reload();
});
show();
