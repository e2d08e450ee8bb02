"use strict";
const FILES = ["image", "audio", "video"];
const LONG = ["text"];
const at = (id) => document.getElementById(id);
let models = [];

function made(kind, text = "", more = {}) {
  const found = document.createElement(kind);
  found.textContent = text;
  return Object.assign(found, more);
}

function headers(more = {}) {
  const token = at("token").value;
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function chosen() {
  return models.find((model) => model.name === at("model").value);
}

function shown(value) {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function field(column) {
  const label = made("label", "", { className: LONG.includes(column.modality) ? "wide" : "" });
  label.append(made("span", `${column.column} `), made("small", column.modality));
  let entry;
  if (FILES.includes(column.modality)) {
    entry = made("input", "", { type: "file", accept: `${column.modality}/*` });
  } else if (column.values) {
    entry = made("select");
    entry.append(made("option", "(missing)", { value: "" }));
    for (const value of column.values) entry.append(made("option", value, { value }));
  } else if (LONG.includes(column.modality)) {
    entry = made("textarea");
  } else {
    entry = made("input", "", { type: "text" });
  }
  entry.name = column.column;
  entry.dataset.modality = column.modality;
  label.append(entry);
  return label;
}

function rowsField(model) {
  const label = made("label", "", { className: "wide" });
  const step = Object.fromEntries(model.reads.map((column) => [column.column, "..."]));
  label.append(made("span", "rows "), made("small", `${model.rows}, as JSON`),
    made("textarea", "", { name: "rows", placeholder: JSON.stringify([step, step], null, 1) }));
  return label;
}

async function rowsOf(model) {
  if (model.rows !== "each by itself") return JSON.parse(at("fields").querySelector("textarea").value);
  const row = {};
  for (const entry of at("fields").querySelectorAll("input, select, textarea")) row[entry.name] = await valueOf(entry);
  return [row];
}

async function content(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768) {
    text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  }
  return btoa(text);
}

async function valueOf(entry) {
  if (entry.type === "file") return entry.files.length ? content(entry.files[0]) : null;
  const text = entry.value.trim();
  if (text === "") return null;
  if (/^[[{]/.test(text) && !LONG.includes(entry.dataset.modality)) {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

function tell(model) {
  at("about").replaceChildren();
  for (const [target, told] of Object.entries(model.targets)) {
    at("about").append(made("h2", `${target}: ${told.task}`));
    if (told.verdict) at("about").append(made("p", told.verdict));
  }
  const series = model.rows !== "each by itself";
  at("fields").replaceChildren(...(series ? [rowsField(model)] : model.reads.map(field)));
  at("limits").replaceChildren(...model.limits.map((limit) => made("li", limit)));
  at("notes").hidden = !model.limits.length;
  at("answer").replaceChildren();
  const row = Object.fromEntries(model.reads.map((column) => [column.column,
    FILES.includes(column.modality) ? "BASE64" : column.values ? column.values[0] : "..."]));
  const address = `curl ${location.origin}/models/${encodeURIComponent(model.name)}/predict \\\n`;
  at("call").textContent = model.reads.length === 1 && FILES.includes(model.reads[0].modality)
    ? `${address}  -H 'content-type: application/octet-stream' --data-binary @FILE`
    : `${address}  -H 'content-type: application/json' \\\n`
      + `  -d '${JSON.stringify({ rows: [row] }).replaceAll("'", "'\\''")}'`;
}

function answerOf(target, answer) {
  const found = [made("h2", target)];
  const value = answer[target];
  if (typeof value === "string" && value.startsWith("data:image/")) {
    found.push(made("img", "", { src: value, alt: target }));
  } else if (value !== undefined) {
    found.push(made("p", shown(value), { className: "main" }));
  }
  const parts = Object.entries(answer).filter(([name]) => name.startsWith(`${target}.`));
  if (parts.length) {
    const table = made("table");
    const chance = `${target}.p.`;
    const chances = parts.filter(([name]) => name.startsWith(chance)).sort((one, other) => other[1] - one[1]);
    const others = parts.filter(([name]) => !name.startsWith(chance) && (!chances.length || name !== `${target}.p`));
    for (const [name, part] of [...chances.slice(0, 20), ...others]) {
      const line = made("tr");
      const bar = made("td");
      const isChance = name.startsWith(chance) || name === `${target}.p`;
      if (isChance && typeof part === "number") bar.append(made("meter", "", { min: 0, max: 1, value: part }));
      const word = name.startsWith(chance) ? name.slice(chance.length) : name.slice(target.length + 1);
      line.append(made("td", word), made("td", shown(part), { className: "number" }), bar);
      table.append(line);
    }
    found.push(table);
  }
  return found;
}

async function ask(event) {
  event.preventDefault();
  const model = chosen();
  const button = at("row").querySelector("button");
  button.disabled = true;
  try {
    const rows = await rowsOf(model);
    const response = await fetch(`/models/${encodeURIComponent(model.name)}/predict`, {
      method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify({ rows }),
    });
    const found = await response.json();
    if (found.error) throw new Error(`${found.error.what} ${found.error.fix}`);
    at("answer").replaceChildren();
    for (const answer of found.answers.slice(0, 100)) {
      if (answer.error) at("answer").append(made("p", answer.error, { className: "bad" }));
      else for (const target of Object.keys(model.targets)) at("answer").append(...answerOf(target, answer));
    }
  } catch (error) {
    at("answer").replaceChildren(made("p", error.message, { className: "bad" }));
  } finally {
    button.disabled = false;
  }
}

async function begin() {
  const response = await fetch("/models", { headers: headers() });
  at("secret").hidden = response.status !== 401 && !at("token").value;
  if (!response.ok) {
    at("about").replaceChildren(made("p", (await response.json()).error.what, { className: "bad" }));
    return;
  }
  models = (await response.json()).models;
  at("model").replaceChildren(...models.map((model) => made("option", model.name, { value: model.name })));
  at("choose").hidden = models.length < 2;
  document.title = `Lamina: ${models.map((model) => model.name).join(", ")}`;
  tell(chosen());
}

at("model").addEventListener("change", () => tell(chosen()));
at("token").addEventListener("change", begin);
at("row").addEventListener("submit", ask);
begin();
