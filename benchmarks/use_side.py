"""One side of `use.py`: a model in use, by whichever checkout of mere_ds is on PYTHONPATH.

`python use_side.py JSON`; each line of standard input asks for a round, "batch", "one" or "products", and is
answered by a line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

LANGUAGE = "de"
"""Of all texts: the version before takes one language a call. It chooses sub-modules alone."""


def main(told: dict) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    from mere_ds.inference import Extractor

    extractor = Extractor.load(told["folder"], **told["given"])
    texts = json.loads(Path(told["texts"]).read_text(encoding="utf-8"))
    list(extractor.extract(texts[:8], LANGUAGE))
    for line in sys.stdin:
        started = time.perf_counter()
        if line.strip() == "batch":
            done = len(list(extractor.extract(texts, LANGUAGE)))
        elif line.strip() == "one":
            done = sum(len(list(extractor.extract([text], LANGUAGE))) for text in texts[: told["one"]])
        else:
            done = _products(extractor, told["arrays"])
            started += _products.reading  # type: ignore[attr-defined]
        seconds = time.perf_counter() - started
        answers.write(json.dumps({"rate": done / seconds, "peak": most_memory()}) + "\n")


def most_memory() -> float:
    """This process' so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _products(extractor, arrays: str) -> int:
    """The model alone, on batches that are tokenised already."""
    import numpy as np

    started = time.perf_counter()
    with np.load(arrays) as file:
        batches = [[file[f"{name}{i}"] for name in ("ids", "mask", "languages")] for i in range(len(file.files) // 3)]
    _products.reading = time.perf_counter() - started  # type: ignore[attr-defined]
    return sum(len(extractor.backend.predict(*batch).score_F) for batch in batches)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
