"""Our side of `benchmarks.rivals.score`: `python benchmarks/rivals/our_answers.py RUN CORPUS OUT`.

Writes OUT/{dev,test}.jsonl, every candidate of a run trained with `--triples=many`, and adds to OUT/speed.json the
sentences a second of test, each language's texts given together.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.words import read
from mere_ds import flags
from mere_ds.inference import Extractor
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model


def main(run: str, corpus: str, out: str) -> None:
    """Answer dev and test with the best checkpoint of RUN."""
    extractor = Extractor.load(trained_model(RunFolder(run)).folder, min_score=0.0)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("dev", "test"):
        rows = read(corpus, split)
        start = time.perf_counter()
        found = answers(extractor, rows)
        rate = len(rows) / (time.perf_counter() - start)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "speed.json").write_text(json.dumps({"extraction": rate}))


def answers(extractor: Extractor, rows: list[dict]) -> list[dict]:
    """All candidates of each row, in the form that the scorer reads."""
    result: list[dict] = [{} for _ in rows]
    for language in sorted({row["lang"] for row in rows}):
        own = [i for i, row in enumerate(rows) if row["lang"] == language]
        for i, answer in zip(own, extractor.extract([rows[i]["text"] for i in own], language), strict=True):
            triples = [
                {
                    "relation": triple["relation"],
                    **{side: [triple[side]["start"], triple[side]["end"]] for side in ("head", "tail")},
                    "score": triple["score"],
                }
                for triple in answer["triples"]
            ]
            result[i] = {name: rows[i][name] for name in ("id", "lang", "text")} | {"triples": triples}
    return result


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "our_answers.py")
