"use strict";
// Each sentence is stored once; answers refer to it: [sentence, relation, probability, head, tail, right]; spans are
// half-open in code points, "right" has a bit per metric. With any number of triples (data.many) an answer is
// [sentence, [[relation, score, head, tail, right], ...]], "right" by characters, and a sentence has "triples"
// [relation, head, tail]. All text is inserted as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const RIGHT_TO_LEFT = new Set(["ar", "arc", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"]);
const PAGE = 25;
const ANSWERS = data.many ? [
  ["", "all", () => true],
  ["right", "all triples right, none missed", (a) => !isWrong(a) && !isMissing(a)],
  ["wrong", "some triple wrong", (a) => isWrong(a)],
  ["missed", "some triple missed", (a) => isMissing(a)],
  ["false", "a triple where there is none", (a) => a[1].length > 0 && !sentenceOf(a).triples.length],
  ["none", "no triple, none found", (a) => sentenceOf(a).text !== null && !a[1].length && !sentenceOf(a).triples.length],
  ["unread", "not read", (a) => sentenceOf(a).text === null],
] : [
  ["", "all", () => true],
  ["right", "triple right", (a) => isRight(a, "triple")],
  ["wrong", "triple wrong", (a) => !isRight(a, "triple")],
  ["relation", "relation wrong", (a) => !isRight(a, "relation")],
  ["head", "head wrong", (a) => !isRight(a, "head")],
  ["tail", "tail wrong", (a) => !isRight(a, "tail")],
  ["characters", "triple right by tokens, wrong by characters", (a) => isRight(a, "triple") && !isRight(a, "triple_characters")],
  ["unread", "not read", (a) => sentenceOf(a).text === null],
];
const at = (id) => document.getElementById(id);
const filters = ["run", "language", "gold", "predicted", "answer", "search"];
let found = [];
let page = 0;

const isRight = (answer, metric) => Boolean(answer[5] & (1 << data.metrics.indexOf(metric)));
const sentenceOf = (answer) => data.sentences[answer[0]];
const isWrong = (answer) => answer[1].some((found) => !found[4]);
const isMissing = (answer) => sentenceOf(answer).text === null ||
  answer[1].filter((found) => found[4]).length < sentenceOf(answer).triples.length;
/* Gold and predicted triples of an answer, each as {relation, head, tail, right(metric), beside}. */
const goldOf = (answer) => {
  const sentence = sentenceOf(answer);
  const triples = data.many ? sentence.triples : sentence.text === null ? [] : [[sentence.relation, sentence.head, sentence.tail]];
  return triples.map(([relation, head, tail]) => ({ relation, head, tail, right: () => true, beside: "" }));
};
const foundOf = (answer) => {
  if (data.many) {
    return answer[1].map(([relation, score, head, tail, right]) =>
      ({ relation, head, tail, right: () => Boolean(right), beside: ` (score ${score.toFixed(2)})` }));
  }
  const [, relation, probability, head, tail] = answer;
  if (relation === null) return [];
  return [{ relation, head, tail, right: (metric) => isRight(answer, metric), beside: ` (relation ${probability.toFixed(2)})` }];
};
const labelOf = (number) => (number === null ? null : data.labels[number]);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function fill(id, choices) {
  at(id).replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
}

/* The sentence split into pieces, each with the marks that cover it; marks may overlap. */
function marked(sentence, answer) {
  const letters = Array.from(sentence.text);
  const marks = [["gold", goldOf(answer)], ["predicted", foundOf(answer)]].flatMap(([who, triples]) =>
    triples.flatMap(({ head, tail }) => [[`${who}-head`, head], [`${who}-tail`, tail]])).filter(([, span]) => span);
  const cuts = [...new Set([0, letters.length, ...marks.flatMap(([, span]) => span)])].sort((a, b) => a - b);
  return cuts.slice(1).map((end, n) => {
    const text = letters.slice(cuts[n], end).join("");
    const names = [...new Set(marks.filter(([, span]) => span[0] <= cuts[n] && end <= span[1]).map(([name]) => name))];
    if (!names.length) return text;
    return element("mark", { class: names.join(" "), title: names.join(", ").replaceAll("-", " ") }, text);
  });
}

function direction(lang) {
  return { lang, dir: RIGHT_TO_LEFT.has(lang) ? "rtl" : "ltr" };
}

function triple(who, sentence, { relation, head, tail, right, beside }) {
  const part = (metric, text, attributes = {}) =>
    right(metric) ? element("bdi", attributes, text) : element("bdi", { ...attributes, class: "wrong" }, `${text} ✗`);
  const entity = (metric, span) =>
    span ? part(metric, Array.from(sentence.text).slice(...span).join(""), direction(sentence.lang)) : part(metric, "none");
  return element("p", { class: "triple" }, element("b", {}, who), part("relation", labelOf(relation)), ": ",
    entity("head", head), " → ", entity("tail", tail), beside);
}

function item(answer) {
  const sentence = sentenceOf(answer);
  const about = element("div", { class: "about" }, element("span", {}, sentence.lang), element("span", {}, sentence.id));
  if (sentence.text === null) return element("li", {}, about, element("p", { class: "wrong" }, `not read: ${sentence.reason}`));
  const text = element("p", { class: "sentence", ...direction(sentence.lang) }, ...marked(sentence, answer));
  const gold = goldOf(answer).map((one) => triple("gold", sentence, one));
  const predicted = foundOf(answer).map((one) => triple("predicted", sentence, one));
  if (!gold.length) gold.push(element("p", { class: "triple" }, element("b", {}, "gold"), "none"));
  if (!predicted.length) predicted.push(data.many
    ? element("p", { class: "triple" }, element("b", {}, "predicted"), "none")
    : element("p", { class: "triple wrong" }, "no answer"));
  return element("li", {}, about, text, ...gold, ...predicted);
}

function show() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  at("list").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(item));
  at("place").textContent = `${found.length.toLocaleString("en")} sentences, page ${page + 1} of ${pages}`;
  at("previous").disabled = page === 0;
  at("next").disabled = page === pages - 1;
}

function search() {
  const [run, language, gold, predicted, kind, words] = filters.map((id) => at(id).value);
  const fits = ANSWERS.find(([value]) => value === kind)[2];
  const sought = words.toLowerCase();
  found = data.runs[run].answers.filter((answer) => {
    const sentence = sentenceOf(answer);
    const has = (triples, label) => !label || triples.some(({ relation }) => labelOf(relation) === label);
    return (!language || sentence.lang === language) && has(goldOf(answer), gold) && has(foundOf(answer), predicted) &&
      fits(answer) &&
      (!sought || (sentence.text !== null && sentence.text.toLowerCase().includes(sought)));
  });
  page = 0;
  show();
}

function confusion() {
  at("confusions").hidden = data.many; // a sentence of any number of triples has no one relation to confuse
  if (data.many) return;
  const { labels, counts } = data.runs[at("run").value].confusion;
  const heads = labels.map((label) => element("th", { scope: "col" }, label));
  const rows = counts.map((row, gold) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    const cells = row.map((count, predicted) => {
      if (!count) return element("td");
      const name = `${count} sentences: gold ${labels[gold]}, predicted ${labels[predicted]}`;
      const button = element("button", { type: "button", title: name, "aria-label": name }, String(count));
      button.addEventListener("click", () => {
        at("filters").reset();
        at("gold").value = labels[gold];
        at("predicted").value = labels[predicted];
        search();
        at("sentences").scrollIntoView();
      });
      const cell = element("td", {}, button);
      cell.style.background = `color-mix(in srgb, var(--head) ${Math.round((55 * count) / total)}%, transparent)`;
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, labels[gold]), ...cells);
  });
  at("confusion").replaceChildren(element("table", { class: "confusion" },
    element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...rows)));
}

const labels = [...data.labels].sort().map((label) => [label, label]);
fill("run", data.runs.map((run, n) => [n, run.name]));
fill("language", [["", "all"], ...data.languages.map((language) => [language, language])]);
fill("gold", [["", "all"], ...labels]);
fill("predicted", [["", "all"], ...labels]);
fill("answer", ANSWERS);
for (const id of filters) at(id).addEventListener(id === "search" ? "input" : "change", search);
at("run").addEventListener("change", confusion);
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("filters").addEventListener("reset", () => setTimeout(search));
at("previous").addEventListener("click", () => { page -= 1; show(); });
at("next").addEventListener("click", () => { page += 1; show(); });
confusion();
search();
