"""From a folder of TSV files to a scored model, in one process: python examples/train.py CORPUS OUT [ENCODER [STEPS]]

ENCODER is a folder, a hub name, e5-small, or tiny (the default: random weights, quick and poor). STEPS ends each stage
early, for a first try.
"""

import sys
from pathlib import Path

from mere_ds import train
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.evaluation.table import format_evaluation
from mere_ds.shards.summary import summary
from mere_ds.shards.writing import shard_corpus


def main(corpus: str, out: str, encoder: str = "tiny", steps: str | None = None) -> None:
    shards, run = Path(out) / "shards", Path(out) / "run"
    print(summary(shard_corpus(corpus, shards, encoder=encoder)))
    train.run({"shards": str(shards), "run": str(run), "max_steps": steps and int(steps)})
    (result,) = evaluate_runs([str(run)], None, "test")
    print(format_evaluation(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
