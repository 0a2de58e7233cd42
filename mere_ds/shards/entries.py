"""Validation of a manifest's entries, individually and against each other, before they are used.

Digests reveal damage; these rules reveal a manifest that another program wrote, or one of a version without a digest.
"""

import re
from collections.abc import Iterator
from typing import Any

SPLITS = ("train", "dev", "test")
WINDOWS = ("sentences", "windows", "repeated_triples")
"""What is counted of windows."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = {"file", "bytes", "sha256"}
_SHARD, _INDEXED = {*_FILE, "sentences"}, {*_FILE, "sentences", "index"}
_SPLIT = {"sentences", "tokens", "shards", "lengths", "counts", "truncated", "unaligned", "cut_spans"}
_NEWER = {"by_language", "by_triples"}
_BY_LANGUAGE = ("truncated", "unaligned", "cut_spans")
_TRIPLES = ("one", "many")
_ENCODER = {
    "source": str, "kind": str, "weights_in_folder": bool, "hidden_size": int, "vocab_size": int, "max_length": int,
    "language_token_ids": dict, "new_token_ids": list, "seed": int, "fingerprint": str,
}  # fmt: skip
_STRANGE = "its entries are not those of a manifest"


def fault_in(plain: dict[str, Any]) -> str | None:
    """What is wrong with a manifest's entries, none of which is missing; None if nothing is."""
    try:
        return next((fault for holds, fault in _rules(plain) if not holds), None)
    except (TypeError, KeyError, AttributeError, ValueError):  # an entry has another type than a rule expects
        return _STRANGE


def unseen_labels(counts: dict[str, dict[str, dict[str, int]]]) -> dict[str, int]:
    """Labels that occur in test but not in train or dev, with their number of test sentences."""
    shown = {label for name in ("train", "dev") for labels in counts[name].values() for label in labels}
    unseen: dict[str, int] = {}
    for labels in counts["test"].values():
        for label, n in labels.items():
            if label not in shown:
                unseen[label] = unseen.get(label, 0) + n
    return dict(sorted(unseen.items()))


def _rules(plain: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """(whether it holds, what is wrong if not) for every rule; each relies on the ones before it."""
    languages, labels, splits, encoder = (plain[name] for name in ("languages", "labels", "splits", "encoder"))
    yield (
        set(splits) == set(SPLITS) and all(set(split) - _NEWER == _SPLIT for split in splits.values()),
        _STRANGE,
    )
    shards = [shard for name in SPLITS for shard in splits[name]["shards"]]
    indexed = bool(shards) and "index" in shards[0]
    yield all(set(shard) == (_INDEXED if indexed else _SHARD) for shard in shards), _STRANGE
    columns = [shard["index"] for shard in shards] if indexed else []
    yield all(set(file) == _FILE for file in columns), _STRANGE
    yield all(set(file) == _FILE for file in plain["encoder_files"]), _STRANGE
    index = {"file": "index.npz", "bytes": plain["index_bytes"], "sha256": plain["index_sha256"]}
    for files in (plain["encoder_files"], [index, *shards, *columns]):
        yield from _rules_of_files(files)

    yield _names(languages) and _names(labels), "languages and labels must be lists of different names"
    yield _is_count(plain["pad_id"], plain["max_length"], plain["seed"]), "pad_id, max_length or seed is not a count"
    yield type(plain["cut_marks"]) is str and type(plain.get("cuts", False)) is bool, _STRANGE
    triples, negative = plain.get("triples", "one"), plain.get("negative_labels", [])
    yield triples in _TRIPLES, f"triples must be one of {', '.join(_TRIPLES)}"
    yield type(negative) is list and all(type(label) is str and label for label in negative), _STRANGE
    distinct = len({*negative, *labels}) == len(negative) + len(labels)
    yield distinct, "negative_labels must be given once and must not be among the labels"
    yield triples == "many" or not negative, "negative_labels are for many triples"
    yield _is_label_map(plain.get("label_map", {})), "label_map must have a sha256 and labels"
    yield _are_options(plain.get("read_as", {})), "read_as must have a format and its options"
    leaks = plain.get("dropped_leaks")
    known = leaks is None or (set(leaks) <= set(SPLITS) and all(_counts(row, languages) for row in leaks.values()))
    yield known, "dropped_leaks must count sentences by split and language"
    windows = plain.get("windows")
    known = windows is None or (set(windows) == set(WINDOWS) and all(_counts(n, languages) for n in windows.values()))
    yield known and (windows is None or triples == "many"), "windows must be counts by language, with many triples"
    yield from _rules_of_encoder(encoder, plain)
    for name in SPLITS:
        yield from _rules_of_split(name, splits[name], languages, labels, triples == "one")
    counts = {name: splits[name]["counts"] for name in SPLITS}
    mask = _label_mask(counts, languages, labels)
    yield plain["label_mask"] == mask and _is_count(*sum(plain["label_mask"], [])), "label_mask does not match counts"
    yield plain["unseen_labels"] == unseen_labels(counts), "unseen_labels does not match counts"
    share = plain.get("dev_share")
    yield share is None or (type(share) in (int, float) and 0 <= share <= 1), "dev_share must be between 0 and 1"
    yield type(plain.get("repeats", {})) is dict, _STRANGE
    yield _counts(plain["missed_test"], languages), "missed_test must count test sentences by language"
    for file in plain["files"]:
        counted = [file["repaired"], file["rejected"], file.get("left_out", {})]
        known = file["language"] in (*languages, "") and all(map(_counts, counted))
        yield known and _is_count(file["rows"], file["kept"]), "files must count the rows of each file"


def _is_label_map(value: dict) -> bool:
    labels = value.get("labels", {})
    texts = all(type(text) is str for pair in labels.items() for text in pair)
    return not value or (set(value) == {"sha256", "labels"} and _is_text(value["sha256"], _SHA256) and texts)


def _are_options(value: dict) -> bool:
    texts = [text for given in value.values() for text in (given if type(given) is list else [given])]
    return not value or ("format" in value and all(text is None or type(text) is str for text in texts))


def _rules_of_files(files: list[dict]) -> Iterator[tuple[bool, str]]:
    """File names in a manifest must not point outside its folder or a cache folder."""
    for file in files:
        yield _is_text(file["file"], _SAFE_NAME), f"{file['file']!r} is not a plain file name"
        proven = _is_text(file["sha256"], _SHA256) and _is_count(file["bytes"])
        yield proven, f"{file['file']} has no valid size and sha256"
    yield len({file["file"] for file in files}) == len(files), "a file is listed twice"


def _rules_of_encoder(encoder: dict, plain: dict) -> Iterator[tuple[bool, str]]:
    fault = "encoder is not a description made by mere-ds shard"
    yield all(type(encoder[name]) is kind for name, kind in _ENCODER.items()), fault
    yield all(type(encoder.get(name)) in (str, type(None)) for name in ("revision", "weights_sha256")), fault
    symbols, words = encoder["language_token_ids"], encoder["vocab_size"]
    ids = [*symbols.values(), *encoder["new_token_ids"], plain["pad_id"]]
    yield set(symbols) == set(plain["languages"]) and _is_count(*ids), fault
    yield max(ids) < words and _is_text(encoder["fingerprint"], _SHA256) and encoder["hidden_size"] > 0, fault
    yield 3 < plain["max_length"] <= encoder["max_length"], "max_length is out of the encoder's range"


def _rules_of_split(
    name: str, split: dict, languages: list[str], labels: list[str], one_triple: bool
) -> Iterator[tuple[bool, str]]:
    sizes = [shard["sentences"] for shard in split["shards"]]
    yield _is_count(split["sentences"], split["tokens"], *sizes), f"{name}'s sentences and tokens must be counts"
    n, counts = split["sentences"], split["counts"]
    yield n == sum(sizes) and all(sizes), f"{name}'s shards do not add up to its {n} sentences"
    yield (
        set(counts) <= set(languages) and all(_counts(row, labels) for row in counts.values()),
        (f"{name}'s counts have unknown languages or labels"),
    )
    triples = {language: sum(row.values()) for language, row in counts.items()}
    of = split.get("by_language", triples)
    yield _counts(of, languages) and n == sum(of.values()), f"{name}'s counts do not add up to its {n} sentences"
    yield from _rules_of_triples(name, split.get("by_triples", {}), of, triples, one_triple)
    for what in _BY_LANGUAGE:
        some = split[what]
        yield (
            _counts(some, languages) and all(n <= of.get(language, 0) for language, n in some.items()),
            (f"{name}'s {what} exceed its sentences"),
        )
    lengths = split["lengths"]
    yield _counts(lengths) and set(lengths) == {"p50", "p90", "p99", "max"}, f"{name}'s lengths must be counts"


def _rules_of_triples(
    name: str, by_triples: dict[str, dict[str, int]], sentences: dict, triples: dict, one_triple: bool
) -> Iterator[tuple[bool, str]]:
    """Numbers by language: `by_triples` sentences by their number of triples, `sentences` and `triples` of these."""
    if one_triple:
        yield not by_triples and sentences == triples, f"{name}'s counts are not one triple for each of its sentences"
        return
    fault = f"{name}'s by_triples are not what its sentences and counts show"
    yield all(_counts(row) and all(map(_is_number, row)) for row in by_triples.values()), fault
    yield {language: sum(row.values()) for language, row in by_triples.items()} == sentences, fault
    found = {language: sum(int(k) * n for k, n in row.items()) for language, row in by_triples.items()}
    yield {language: n for language, n in found.items() if n} == triples, fault


def _is_number(text: str) -> bool:
    """Whether it is how a number of triples is written."""
    return text.isascii() and text.isdigit() and len(text) < 6 and str(int(text)) == text


def _label_mask(counts: dict, languages: list[str], labels: list[str]) -> list[list[int]]:
    """Which labels occur in the training files, including dev; for a language without sentences there, those of all."""
    shown = [{*counts["train"].get(language, {}), *counts["dev"].get(language, {})} for language in languages]
    anywhere = set().union(*shown)
    return [[int(label in (row or anywhere)) for label in labels] for row in shown]


def _is_text(value: object, pattern: re.Pattern) -> bool:
    return type(value) is str and bool(pattern.fullmatch(value))


def _is_count(*values: object) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _counts(values: dict, known: list[str] | tuple[str, ...] | None = None) -> bool:
    return _is_count(*values.values()) and (known is None or set(values) <= set(known))


def _names(values: list[str]) -> bool:
    texts = type(values) is list and all(type(value) is str and value for value in values)
    return texts and 0 < len(set(values)) == len(values) < 1 << 15
