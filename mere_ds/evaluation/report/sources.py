"""What each run of a report was made from, as text: digests are the first 12 digits of sha256."""

from collections.abc import Iterable

from mere_ds.evaluation.provenance import Evaluation
from mere_ds.evaluation.report.runs import Row


def source_of(run: Evaluation) -> dict[str, str]:
    """By name: the model, how it was scored, the shards, the predictions, the versions."""
    made, about = run.made_from, run.content
    model, shards, predictions = made["checkpoint"], made["shards"], made["predictions"]
    return {
        "model": f"stage {model['stage']}, {model['name']} ({_short(model['sha256'])})",
        "scored": ", ".join((about["which"], about["precision"], *run.remarks())),
        "shards": f"{shards['place']} ({_short(shards['manifest'])})",
        "predictions": f"{run.predictions.name}, {predictions['lines']:,} lines ({_short(predictions['sha256'])})",
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
    }


def format_sources(rows: Iterable[Row]) -> str:
    """One line per run."""
    lines = [
        f"{result.name}: {'; '.join((str(run.run.root), *source_of(run).values()))}"
        for row in rows
        for result in row.results
        for run in result.runs
    ]
    return "\n".join(["Made from", *lines])


def _short(sha256: str) -> str:
    return sha256[:12]
