"""gliner's relation model in use, for `use.py`: `PYTHON gliner_use.py JSON`, with the Python of its own environment.

The model is untrained around the same encoder. It would find thousands of entities, and all their pairs, in every text,
and run out of memory; so only entities of a score that hardly any reaches count, which favours it.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.gliner_relex import new_model
from benchmarks.rivals.words import ENTITY
from benchmarks.use_side import most_memory

WIDTH, LEAST, BATCH = 8, 0.999, 8


def main(told: dict) -> None:
    """Answer each line of standard input with a round's rate, as `use_side`."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    model = new_model(told["folder"], WIDTH).eval()
    texts = json.loads(Path(told["texts"]).read_text(encoding="utf-8"))
    for line in sys.stdin:
        some = texts[: told["one"]] if line.strip() == "one" else texts
        started = time.perf_counter()
        model.inference(
            some, labels=[ENTITY], relations=told["labels"], flat_ner=True, threshold=LEAST, relation_threshold=LEAST,
            batch_size=1 if line.strip() == "one" else BATCH,
        )  # fmt: skip
        rate = len(some) / (time.perf_counter() - started)
        answers.write(json.dumps({"rate": rate, "peak": most_memory()}) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
