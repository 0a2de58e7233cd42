"use strict";
// Asks the server for the triples of texts, each line one, or of a document, and shows them.
const at = (id) => document.getElementById(id);
const HUES = 8;
let model = null;
let answers = [];
let items = []; // of the answers: functions that show what reaches the least score, and that draw it again

const hueOf = (relation) => `relation-${model.labels.indexOf(relation) % HUES}`;
const least = () => Number(at("least").value);

function nameOf(code) {
  if (code === null) return "language unclear";
  try {
    return `${new Intl.DisplayNames(["en"], { type: "language" }).of(code)} (${code})`;
  } catch {
    return code;
  }
}

function headers() {
  const token = at("token").value;
  return token ? { authorization: `Bearer ${token}` } : {};
}

/* What the server answers; throws an Error with its line, or with what went wrong on the way. */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch {
    throw new Error("the server can't be reached");
  }
  const content = await response.json().catch(() => ({ error: `status ${response.status}` }));
  if (response.status === 401) at("token-field").hidden = false;
  if (!response.ok) throw new Error(content.error);
  return content;
}

function say(text, isWrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", isWrong);
}

async function begin() {
  model = await ask("about");
  const { languages, labels, min_score: minScore } = model;
  const names = languages.filter((code) => code !== "auto").map((code) => [code, nameOf(code)]);
  names.sort((a, b) => a[1].localeCompare(b[1]));
  at("about").textContent = `${model.model}: ${names.length} languages, ${labels.length} relations`;
  if (languages.includes("auto")) names.unshift(["auto", "detect it"]);
  at("language").replaceChildren(...names.map(([value, name]) => element("option", { value }, name)));
  at("whole-field").hidden = !model.documents;
  at("least").value = minScore ?? 0;
  showLeast();
}

/* A triple as a line that shows it in the text while it has the focus or the pointer, and stays when pressed. */
function line(triple, lang, choose) {
  const { head, relation, tail, score } = triple;
  const entity = (side, { text }) => element("bdi", { class: side, lang: lang ?? "" }, text);
  const meter = element("meter", { min: 0, max: 1, value: score, "aria-hidden": true });
  const button = element("button", { type: "button", "aria-pressed": false },
    entity("head", head), element("span", { class: `relation ${hueOf(relation)}` }, `${relation} →`), entity("tail", tail),
    element("span", { class: "score" }, meter, ` ${score.toFixed(2)}`));
  for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => choose(triple));
  for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => choose(null));
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") === "true";
    for (const other of button.closest("ul").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(!pressed));
    choose(triple, !pressed);
  });
  return element("li", {}, button);
}

/* An answer's list item, and the functions to show and draw it. */
function item(answer) {
  const svg = shape("svg", { "aria-hidden": true });
  const drawn = element("div", { class: "drawn" });
  const list = element("ul", { class: "triples" });
  const said = element("p", { class: "note" });
  const about = element("div", { class: "language" }, element("span", {}, nameOf(answer.lang)));
  let draws = () => {};
  const show = () => {
    const triples = answer.triples.filter((triple) => triple.score >= least());
    const { node, range, mark } = paragraph(answer, triples);
    let groups = new Map();
    let pinned = null;
    const choose = (triple, pin) => {
      if (pin !== undefined) pinned = pin ? triple : null;
      const chosen = triple ?? pinned;
      mark(chosen);
      svg.classList.toggle("choosing", chosen !== null);
      for (const [its, group] of groups) group.classList.toggle("chosen", its === chosen);
    };
    drawn.replaceChildren(node, svg);
    list.replaceChildren(...triples.map((triple) => line(triple, answer.lang, choose)));
    const none = answer.triples.length ? "no triple reaches the least score" : "no triple";
    said.textContent = [answer.note, triples.length ? null : none].filter(Boolean).join("; ");
    draws = () => {
      groups = draw(node, svg, triples, range, hueOf);
      choose(null);
    };
    draws();
    return triples.length;
  };
  return { node: element("li", {}, about, drawn, said, list), show, draw: () => draws() };
}

function showLeast() {
  at("least-shown").textContent = least().toFixed(2);
  if (!answers.length) return;
  const shown = items.reduce((sum, its) => sum + its.show(), 0);
  const all = answers.reduce((sum, { triples }) => sum + triples.length, 0);
  at("count").textContent = `${shown} of ${all} triples`;
}

async function extract() {
  const given = at("texts").value;
  if (!given.trim()) return;
  const read = at("whole").checked ? { document: given } : { texts: given.split("\n").filter((text) => text.trim()) };
  at("extract").disabled = true;
  say("computing");
  try {
    if (!model) await begin();
    const body = JSON.stringify({ ...read, lang: at("language").value, min_score: 0 });
    const answer = await ask("extract", { method: "POST", headers: { "content-type": "application/json" }, body });
    answers = answer.answers ?? [answer];
    items = answers.map(item);
    at("list").replaceChildren(...items.map(({ node }) => node));
    at("json").textContent = answers.map((answer) => JSON.stringify(answer)).join("\n");
    at("answers").hidden = false;
    showLeast();
    say("");
  } catch (error) {
    say(error.message, true);
  }
  at("extract").disabled = false;
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  extract();
});
at("texts").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
});
at("least").addEventListener("input", showLeast);
at("token").addEventListener("change", () => begin().then(() => say(""), (error) => say(error.message, true)));
new ResizeObserver(() => items.forEach((its) => its.draw())).observe(at("list"));
begin().catch((error) => say(error.message, true));
