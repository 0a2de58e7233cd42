"use strict";
// Draws triples in a text: bars below entities, arcs from heads to tails above them. Offsets count code points. All text
// is inserted as text, never as HTML.
const GAP = 4; // pixels between what is drawn side by side
const BAR = 5; // height of a row of bars
const LEVEL = 20; // height of a row of arcs
const RADIUS = 6;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* The text split into pieces at the spans' ends: its paragraph, and functions from a span to a Range and that mark the
   entities of one triple. */
function paragraph(answer, triples) {
  const letters = Array.from(answer.text);
  const spans = triples.flatMap(({ head, tail }) => [head, tail]);
  const cuts = [...new Set([0, letters.length, ...spans.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  const pieces = cuts.slice(1).map((end, n) => {
    const node = document.createTextNode(letters.slice(cuts[n], end).join(""));
    const inside = spans.some((span) => span.start <= cuts[n] && end <= span.end);
    return { start: cuts[n], end, node, shown: inside ? element("mark", {}, node) : node };
  });
  const range = ({ start, end }) => {
    const made = document.createRange();
    made.setStart(pieces.find((piece) => piece.start === start).node, 0);
    const last = pieces.find((piece) => piece.end === end).node;
    made.setEnd(last, last.length);
    return made;
  };
  const mark = (triple) => {
    for (const { start, end, shown } of pieces.filter((piece) => piece.shown !== piece.node)) {
      for (const side of ["head", "tail"]) {
        shown.classList.toggle(side, triple !== null && triple[side].start <= start && end <= triple[side].end);
      }
    }
  };
  return { node: element("p", { dir: "auto", lang: answer.lang ?? "" }, ...pieces.map(({ shown }) => shown)), range, mark };
}

/* The lowest rows in which intervals {line, left, right} of one line don't touch, in the given order. */
function stack(intervals) {
  const rows = [];
  for (const one of intervals) {
    const meets = (other) => other.line === one.line && other.left < one.right + GAP && one.left < other.right + GAP;
    let row = 0;
    while ((rows[row] ??= []).some(meets)) row += 1;
    rows[row].push(one);
    one.row = row;
  }
  return rows.length;
}

/* Where the lines of a span lie: [{line, left, right}], from its first line to its last. */
function places(span, range, box, lineHeight) {
  const lines = new Map();
  for (const { left, right, top, bottom } of range(span).getClientRects()) {
    if (left === right) continue;
    const line = Math.floor(((top + bottom) / 2 - box.top) / lineHeight);
    const known = lines.get(line) ?? { line, left: Infinity, right: -Infinity };
    lines.set(line, { line, left: Math.min(known.left, left - box.left), right: Math.max(known.right, right - box.left) });
  }
  return [...lines.values()].sort((a, b) => a.line - b.line);
}

/* Where each triple's arc begins and ends: ends at one entity lie side by side, in the order of where they lead. */
function ends(triples, placed) {
  const middle = ({ left, right }) => (left + right) / 2;
  const all = triples.flatMap((triple, n) => [["head", "tail"], ["tail", "head"]].map(([side, other]) =>
    ({ n, side, place: placed(triple[side])[0], to: placed(triple[other])[0] })));
  const found = triples.map(() => ({}));
  const leads = (end) => (end.to.line === end.place.line ? middle(end.to) : Infinity);
  for (const place of new Set(all.map((end) => end.place))) {
    const here = all.filter((end) => end.place === place).sort((a, b) => leads(a) - leads(b));
    const apart = Math.min(10, (place.right - place.left) / (here.length + 1));
    here.forEach(({ n, side }, i) => {
      found[n][side] = { line: place.line, x: middle(place) + (i - (here.length - 1) / 2) * apart };
    });
  }
  return found;
}

/* An arc's part on each line from the upper end's to the lower one's; over a line's edge it goes on in the next. The
   widest part has the label. */
function parts({ head, tail }, width, rightToLeft, labelWidth) {
  const [first, last] = head.line <= tail.line ? [head, tail] : [tail, head];
  const [begin, end] = rightToLeft ? [width, 0] : [0, width];
  const made = [];
  for (let line = first.line; line <= last.line; line += 1) {
    const from = line === first.line ? first.x : begin;
    const to = line === last.line ? last.x : end;
    const [left, right] = [Math.min(from, to), Math.max(from, to)];
    made.push({ line, from, to, left, right, isFirst: line === first.line, isLast: line === last.line });
  }
  const widest = made.reduce((a, b) => (b.right - b.left > a.right - a.left ? b : a));
  const half = labelWidth / 2;
  widest.label = Math.max(Math.min(half, width / 2), Math.min((widest.left + widest.right) / 2, width - half));
  widest.left = Math.min(widest.left, widest.label - half);
  widest.right = Math.max(widest.right, widest.label + half);
  return made;
}

function path({ from, to, isFirst, isLast }, foot, top) {
  const turn = Math.min(RADIUS, Math.abs(to - from) / 2) * Math.sign(to - from);
  const rise = isFirst ? `M${from},${foot} V${top + RADIUS} Q${from},${top} ${from + turn},${top}` : `M${from},${top}`;
  const fall = isLast ? `H${to - turn} Q${to},${top} ${to},${top + RADIUS} V${foot}` : `H${to}`;
  return `${rise} ${fall}`;
}

/* Draws the arcs of triples over a paragraph and makes room for them between its lines: triple -> its group. */
function draw(node, svg, triples, range, hueOf) {
  node.style.lineHeight = node.style.paddingTop = node.style.marginBottom = "";
  svg.replaceChildren();
  if (!triples.length) return new Map();
  const content = Math.ceil(parseFloat(getComputedStyle(node).fontSize) * 1.45);
  let lineHeight = content;
  node.style.lineHeight = `${lineHeight}px`;
  const rightToLeft = getComputedStyle(node).direction === "rtl";
  const box = node.getBoundingClientRect();
  const known = new Map();
  const placed = (span) => {
    const key = `${span.start} ${span.end}`;
    if (!known.has(key)) known.set(key, places(span, range, box, lineHeight));
    return known.get(key);
  };
  const drawn = triples.filter(({ head, tail }) => placed(head).length && placed(tail).length);
  const groups = drawn.map(({ relation }) => shape("g", { class: hueOf(relation) }));
  const labels = drawn.map(({ relation }) => shape("text", { class: "label" }, relation));
  svg.append(...groups);
  groups.forEach((group, n) => group.append(labels[n]));
  const ended = ends(drawn, placed);
  const arcs = ended.map((its, n) =>
    parts(its, box.width, rightToLeft, labels[n].getComputedTextLength() + 2 * GAP));
  const bars = [...known.values()].flat();
  const size = ({ left, right }) => right - left;
  const barRows = stack(bars.sort((a, b) => size(a) - size(b)));
  const arcRows = stack(arcs.flat().sort((a, b) => size(a) - size(b)));
  const room = barRows * BAR + arcRows * LEVEL + 2 * GAP;
  lineHeight += room;
  node.style.lineHeight = `${lineHeight}px`;
  node.style.paddingTop = `${Math.max(0, arcRows * LEVEL + GAP - room / 2)}px`;
  node.style.marginBottom = `${Math.min(0, barRows * BAR + GAP - room / 2)}px`;
  const above = parseFloat(node.style.paddingTop) + room / 2; // of the first line's letters
  const topOf = (line) => above + line * lineHeight;
  svg.prepend(...bars.map(({ line, left, right, row }) => {
    const y = topOf(line) + content + row * BAR + 1;
    return shape("line", { class: "bar", x1: left + 1, x2: right - 1, y1: y, y2: y });
  }));
  arcs.forEach((its, n) => {
    for (const part of its) {
      const foot = topOf(part.line) - 1;
      const top = foot - (part.row + 1) * LEVEL + GAP * 2;
      groups[n].prepend(shape("path", { class: "arc", d: path(part, foot, top) }));
      if (part.label !== undefined) {
        labels[n].setAttribute("x", part.label);
        labels[n].setAttribute("y", top + 4);
      }
    }
    const { line, x } = ended[n].tail;
    groups[n].prepend(shape("path", { class: "arrow", d: `M${x},${topOf(line)} l-4,-7 h8 z` }));
  });
  return new Map(drawn.map((triple, n) => [triple, groups[n]]));
}
