"""A corpus of any format: which files it has, and their sentences with one triple each or any number."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mere_ds.corpus.example import Example
from mere_ds.corpus.formats.checking import FormatFile, Source, languages_of, read_source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import check_whole, open_source, recognised
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.jsonl import JsonLinesFile, json_lines_paths, read_json_lines
from mere_ds.corpus.labels import LabelMap
from mere_ds.corpus.languages import parse_languages, sort_languages
from mere_ds.corpus.reading import CUT_MARKS, read_file, split_files, tsv_paths
from mere_ds.corpus.rows import SPLITS, CorpusFile, Reject, Tally, check_folder, check_regular
from mere_ds.errors import UserError
from mere_ds.files import digest_file

TRIPLES = ("auto", "one", "many")


@dataclass(frozen=True)
class Corpus:
    """The chosen files of a folder, see `open_corpus`."""

    folder: Path
    files: Sequence[CorpusFile]
    chosen: list[str] | None
    """The languages to read, in the order of `sort_languages`; None for all that there are."""
    triples: Literal["one", "many"]
    """Of each sentence."""
    negative_labels: tuple[str, ...]
    cut_marks: str
    source: Source | None = None
    """How `FormatFile`s are read."""
    label_map: LabelMap | None = None

    @cached_property
    def languages(self) -> list[str]:
        """In the order of `sort_languages`. Where rows have their own and all are read, this goes through all rows."""
        return sort_languages(_languages(self.files, self.source)) if self.chosen is None else self.chosen

    @property
    def read_as(self) -> dict[str, Any]:
        """Of another tool's files, the format and all other options that they are read with, as plain JSON; else {}."""
        if not self.source:
            return {}
        given = asdict(self.source.options)
        return given | {"format": self.source.format.name, "map": list(given["map"])}

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for file in self.files for path in files_of(file.path))

    def digests(self) -> dict[str, str]:
        """sha256 of all that is read, by the path from the folder that holds the corpus. Reads the files."""
        paths = [path for file in self.files for path in files_of(file.path)]
        if self.source:
            paths += [table for file in self.files for table in self.source.format.tables(file.path)]
        return {str(path.relative_to(self.folder.parent)): digest_file(path) for path in paths}

    def has(self, split: str) -> bool:
        """Whether there is a file of this split."""
        return any(file.split == split for file in self.files)

    def read(
        self, file: CorpusFile, on_reject: Callable[[Reject], None] = lambda _: None, tally: Tally | None = None
    ) -> Iterator[Example]:
        """Streams the sentences of one of the files, with the labels that `label_map` gives them and without triples of
        negative labels; `tally` is kept up to date.

        `on_reject` gets every row that is not kept as it stands. Raises UserError for an unreadable file.
        """
        tally = tally or Tally(file)
        has_one = self.triples == "one"
        as_given = has_one and not self.label_map  # which may leave one of several triples
        if isinstance(file, JsonLinesFile):
            examples = read_json_lines(file, as_given, self.chosen, on_reject, tally)
        elif isinstance(file, FormatFile):
            assert self.source
            examples = read_source(self.source, file, as_given, self.chosen, on_reject, tally)
        else:
            examples = read_file(file.path, self.cut_marks, on_reject, tally.of(file.language))
        if self.label_map:
            examples = self.label_map.relabel(examples, has_one, tally, on_reject)
        return (self._without_negative(example) for example in examples) if self.negative_labels else examples

    def _without_negative(self, example: Example) -> Example:
        kept = tuple(triple for triple in example.triples if triple.relation not in self.negative_labels)
        return example if len(kept) == len(example.triples) else replace(example, triples=kept)


def open_corpus(
    folder: str | Path,
    languages: str | Sequence[str] = "all",
    english: str = "auto",
    cut_marks: str = "repair",
    triples: str = "auto",
    negative_labels: Sequence[str] = (),
    options: SourceOptions = SourceOptions(),  # noqa: B008 (frozen)
    label_map: str | Path | None = None,
) -> Corpus:
    """The files of SMiLER's format or of JSON lines in a folder, in the languages' order, train before dev and test; of
    another format, what `options` say of it.

    `languages` and `english` as in `mere_ds.corpus.reading.split_files`, `cut_marks` as in its `read_file`. `triples`
    is one of `TRIPLES`: "auto" means one for SMiLER's format, many for all others. `label_map` is a file as for
    `LabelMap.load`; `negative_labels`, as it names them, say that there is no triple, where many are asked for. Raises
    UserError for a source that is of no format or of several, and for a choice that it does not have.
    """
    corpus = _opened(Path(folder), languages, english, cut_marks, triples, negative_labels, options)
    return replace(corpus, label_map=LabelMap.load(label_map) if label_map else None)


def _opened(
    folder: Path,
    languages: str | Sequence[str],
    english: str,
    cut_marks: str,
    triples: str,
    negative_labels: Sequence[str],
    options: SourceOptions,
) -> Corpus:
    if cut_marks not in CUT_MARKS:
        raise UserError(f"--cut_marks={cut_marks}: must be one of {', '.join(CUT_MARKS)}")
    if triples not in TRIPLES:
        raise UserError(f"--triples={triples}: must be one of {', '.join(TRIPLES)}")
    lines, tables = json_lines_paths(folder), tsv_paths(folder)
    check_regular(lines)
    if options.format in ("smiler", "jsonl"):
        check_folder(folder)
        lines, tables = (lines, []) if options.format == "jsonl" else ([], tables)
    elif (
        options.format != "auto"
        or options.map
        or not (lines or tables)
        or (not tables and _is_of_other_format(folder, lines))
    ):
        _check_smiler_s(folder, english, cut_marks)
        return _of_source(folder, languages, triples, negative_labels, options)
    if lines and tables:
        names = ", ".join(sorted(path.name for path in [*lines, *tables]))
        raise UserError(f"{folder}: contains corpus files in two formats ({names}): move those of one format away")
    options.check_used(f"format {'jsonl' if lines else 'smiler'}", ())
    many = triples == "many" or (triples == "auto" and bool(lines))
    negative = _negative_labels(negative_labels, many)
    files: Sequence[CorpusFile]
    chosen: list[str] | None
    if lines:
        _check_smiler_s(folder, english, cut_marks)
        files, chosen = _json_lines(lines, languages, folder)
    else:
        files = split_files(folder, languages, english)
        chosen = list(dict.fromkeys(file.language for file in files))
    return Corpus(folder, files, chosen, "many" if many else "one", negative, cut_marks)


def _check_smiler_s(folder: Path, english: str, cut_marks: str) -> None:
    """Raises UserError for what only SMiLER's files have a use for."""
    if english != "auto":
        raise UserError(f"--english={english}: {folder} has no sizes of English, as SMiLER's files have: omit it")
    if cut_marks != "repair":
        raise UserError(f"--cut_marks={cut_marks}: {folder} has no marks, as SMiLER's files have: omit it")


def _is_of_other_format(folder: Path, lines: Sequence[Path]) -> bool:
    """Whether files that are named like our JSON lines are of another format, whose files are often named alike.

    Raises UserError if they may be of both.
    """
    ours = {_begins_as_ours(path) for path in lines}
    if ours == {True}:
        return False
    if not (found := recognised(folder, general=False)):
        if ours == {False}:
            check_whole(folder)
        return False
    if True in ours or False not in ours:
        answers = "; ".join(f"--format={name} ({reason})" for name, reason in found.items())
        raise UserError(f"{folder}: may be of several formats: pass --format=jsonl (names of files); {answers}")
    return True


def _begins_as_ours(path: Path) -> bool | None:
    """Whether a file's first row has triples as our JSON lines have them; None if it has none, as in many formats."""
    first = Sample(path).first
    triples = first.get("triples") if first else []
    if not isinstance(triples, list):
        return False
    keys = {"head", "relation", "tail"}
    return all(isinstance(triple, dict) and keys <= triple.keys() for triple in triples) if triples else None


def _of_source(
    path: Path,
    languages: str | Sequence[str],
    triples: str,
    negative_labels: Sequence[str],
    options: SourceOptions,
) -> Corpus:
    source, files = open_source(path, options)
    many = triples != "one"
    negative = _negative_labels(negative_labels, many)
    chosen = _chosen_languages(languages, files, path, source)
    return Corpus(path, files, chosen, "many" if many else "one", negative, "repair", source)


def files_of(path: Path) -> list[Path]:
    """A file that is read, or the files of a folder that is read as one."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _negative_labels(labels: Sequence[str], many: bool) -> tuple[str, ...]:
    if labels and not many:
        raise UserError(
            f"--negative_label={','.join(labels)} makes sentences without triples: add --triples=many, or omit it"
        )
    negative = tuple(dict.fromkeys(label.strip() for label in labels))
    if "" in negative:
        raise UserError("--negative_label has an empty name: pass the labels that mean that there is no triple")
    return negative


def _json_lines(
    paths: list[Path], languages: str | Sequence[str], folder: Path
) -> tuple[list[JsonLinesFile], list[str] | None]:
    """The chosen files, those of no language last, and the chosen languages."""
    files = [JsonLinesFile.of(path) for path in paths]
    chosen = _chosen_languages(languages, files, folder)
    named = sort_languages({file.language for file in files} - {""})
    order = [*(named if chosen is None else chosen), ""]
    wanted = [file for file in files if file.language in order]
    return sorted(wanted, key=lambda file: (order.index(file.language), SPLITS.index(file.split))), chosen


def _chosen_languages(
    languages: str | Sequence[str], files: Sequence[CorpusFile], folder: Path, source: Source | None = None
) -> list[str] | None:
    """See `Corpus.chosen`. Raises UserError for a language that no row has."""
    wanted = parse_languages(languages)
    if wanted == "all":
        return None
    found = _languages(files, source)
    if absent := [language for language in wanted if language not in found]:
        raise UserError(f"{folder}: contains no row for {', '.join(absent)}; remove them from --languages")
    return wanted


def _languages(files: Sequence[CorpusFile], source: Source | None) -> set[str]:
    return {code for file in files for code in ([file.language] if file.language else _languages_in(file, source))}


def _languages_in(file: CorpusFile, source: Source | None) -> set[str]:
    """The languages of a file's rows, rejected ones included."""
    if isinstance(file, FormatFile):
        assert source
        return languages_of(source, file)
    assert isinstance(file, JsonLinesFile)
    tally = Tally(file)
    for _ in read_json_lines(file, False, None, lambda _: None, tally):
        pass
    return {counts.language for counts in tally.counts if counts.language}
