"""The report as one self-contained HTML page: no network, no library, no second file."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from tqdm import tqdm

from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.report.figures import Drawing
from mere_ds.evaluation.report.paper import paper_beside
from mere_ds.evaluation.report.plots import svg
from mere_ds.evaluation.report.runs import Row, have_many
from mere_ds.evaluation.report.sources import source_of
from mere_ds.evaluation.report.tables import Cell, Table, languages_of
from mere_ds.evaluation.triple_sets import from_json


def make_page(rows: Sequence[Row], tables: Iterable[Table], drawings: Iterable[Drawing]) -> str:
    """The content of index.html. All text is escaped; only the page's own script may run, and nothing may be loaded."""
    template, style, script = (_file(f"page.{kind}") for kind in ("html", "css", "js"))
    parts = {
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": style,
        "runs": _runs(rows),
        "tables": "".join(map(_table, tables)),
        "paper": escape(paper_beside(rows)[1]),
        "figures": "".join(map(_figure, drawings)),
        "data": _as_script(_answers(rows)),
        "script": script,
    }
    pieces = template.split("{{")
    filled = (parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))
    return pieces[0] + "".join(filled)


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _as_script(content: dict) -> str:
    """JSON that can neither close its script element nor open a comment in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _runs(rows: Sequence[Row]) -> str:
    """The table of runs, with what each one was made from."""
    table = [
        {
            "row": row.name,
            "seed": str(result.seed),
            "folder": str(run.run.root),
            "sentences": f"{run.content['pooled']['sentences']:,}",
            "not read": f"{sum(scores.get('missed', 0) for scores in run.content['languages'].values()):,}",
            **source_of(run),
        }
        for row in rows
        for result in row.results
        for run in result.runs
    ]
    lines = (f"<th scope='row'>{escape(row)}</th>{_texts(others)}" for row, *others in (d.values() for d in table))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    titles = "".join(f"<th scope='col'>{title}</th>" for title in table[0])
    note = "<p class='note'>In parentheses: the first 12 digits of the sha256.</p>"
    return _wide(f"<table class='runs'><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>", "Runs") + note


def _texts(cells: Iterable[str]) -> str:
    return "".join(f"<td class='text'>{escape(cell)}</td>" for cell in cells)


def _table(table: Table) -> str:
    head = f"<h3>{escape(table.title)}</h3><p class='note'>{escape(table.note)}</p>"
    if not table.lines:
        return head
    titles = "".join(f"<th scope='col'>{escape(column)}</th>" for column in table.columns)
    body = "".join(
        f"<tr{' class=paper' if line.paper else ''}><th scope='row'>{escape(line.name)}</th>"
        + "".join(map(_cell, line.cells))
        + "</tr>"
        for line in table.lines
    )
    return head + _wide(f"<table><thead><tr><td></td>{titles}</tr></thead><tbody>{body}</tbody></table>", table.title)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td>–</td>"
    beside = f"<small>{escape(cell.beside)}</small>" if cell.beside else ""
    return f"<td{' class=best' if cell.best else ''}>{cell.value:.1f}{beside}</td>"


def _wide(table: str, name: str) -> str:
    """A table that scrolls horizontally by itself, also by keyboard."""
    return f"<div class='wide' tabindex='0' role='region' aria-label='{escape(name)}'>{table}</div>"


def _figure(drawing: Drawing) -> str:
    head = f"<h3>{escape(drawing.title)}</h3><p class='note'>{escape(drawing.note)}</p>"
    if drawing.plot is None:
        return head
    plot = svg(drawing.plot, drawing.name).replace("<svg ", f"<svg role='img' aria-label='{escape(drawing.title)}' ", 1)
    return f"{head}<figure id='{drawing.name}'>{plot}</figure>"


def _answers(rows: Sequence[Row]) -> dict:
    """The data for page.js: each sentence once, and each result's answers, with numbers for strings."""
    sentences, labels = _Numbers(), _Numbers()
    many = have_many(rows)
    answer = _answer_of_many if many else _answer
    results = [result for row in rows for result in row.results]
    runs = [
        {
            "name": result.name,
            "confusion": result.scores.get("confusion"),
            "answers": [answer(record, sentences, labels) for record in result.records()],
        }
        for result in tqdm(results, desc="answers", unit="result", disable=None)
    ]
    return {
        "many": many,
        "metrics": METRICS,
        "languages": languages_of(rows),
        "labels": list(labels),
        "sentences": [json.loads(sentence) for sentence in sentences],
        "runs": runs,
    }


class _Numbers(dict[str, int]):
    """Numbers strings in the order of their first lookup."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def _answer(record: dict, sentences: _Numbers, labels: _Numbers) -> list:
    """[sentence, relation, probability, head, tail, right]; `right` has a bit per metric."""
    sentence = {"id": record.get("id", ""), "lang": record["lang"], "text": record["text"]}
    gold, predicted = record["gold"], record["predicted"]
    if gold is None:
        sentence["reason"] = record["reason"]
    else:
        sentence |= {"relation": labels[gold["relation"]], "head": gold["head"], "tail": gold["tail"]}
    number = sentences[json.dumps(sentence, ensure_ascii=False)]
    right = sum(1 << METRICS.index(metric) for metric in record["right"])
    if predicted is None:
        return [number, None, None, None, None, right]
    probability = round(predicted["probability"], 2)
    return [number, labels[predicted["relation"]], probability, predicted["head"], predicted["tail"], right]


def _answer_of_many(record: dict, sentences: _Numbers, labels: _Numbers) -> list:
    """[sentence, [[relation, score, head, tail, right], ...]] of the predicted triples; `right` is 1 if it is gold by
    characters. The sentence has its gold "triples" as [relation, head, tail]."""
    sentence = {"id": record.get("id", ""), "lang": record["lang"], "text": record["text"]}
    if record["gold"] is None:
        sentence["reason"] = record["reason"]
    gold, found = (record[side] or [] for side in ("gold", "predicted"))
    sentence["triples"] = [[labels[t["relation"]], t["head"], t["tail"]] for t in gold]
    number = sentences[json.dumps(sentence, ensure_ascii=False)]
    of_gold = {triple[:3] for triple in from_json(record["text"], gold)}
    right = [int(triple[:3] in of_gold) for triple in from_json(record["text"], found)]
    return [
        number,
        [
            [labels[t["relation"]], round(t["score"], 2), t["head"], t["tail"], is_right]
            for t, is_right in zip(found, right, strict=True)
        ],
    ]
