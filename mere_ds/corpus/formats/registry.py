"""Every format, and which of them a source is of."""

import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from mere_ds.corpus.formats.checking import FormatFile, Source
from mere_ds.corpus.formats.options import FOR_ALL, SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.splits import splits_in
from mere_ds.corpus.formats.stated import Format, WeakReason
from mere_ds.corpus.rows import SPLITS
from mere_ds.errors import UserError

_MOST_LISTED = 5  # files

log = logging.getLogger("mere_ds")


class _Formats(Mapping[str, Format]):
    """The modules of formats, of which only those are imported that are asked for: all take a tenth of a second."""

    def __init__(self, **modules: str):
        """`modules`: by its name in here, the names of the formats that a module has."""
        self._modules = {name: module for module, names in modules.items() for name in names.split()}

    def __getitem__(self, name: str) -> Format:
        module = import_module(f"mere_ds.corpus.formats.{self._modules[name]}")
        return next(format for format in module.FORMATS if format.name == name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules))

    def __len__(self) -> int:
        return len(self._modules)


FORMATS = _Formats(
    brat="brat",
    conll04="conll04",
    crossre="crossre",
    doccano="doccano",
    docred="docred",
    fewrel="fewrel",
    gliner2="gliner2",
    glirel="glirel",
    klue="klue",
    label_studio="label-studio",
    marked_text="marked-text",
    opennre="opennre",
    prodigy="prodigy",
    rebel="rebel",
    scierc="scierc",
    spacy_docbin="spacy",
    strings="duie nyt",
    tables="datasets table",
    tacred="tacred",
    webanno_tsv="webanno-tsv",
    xmi="xmi",
)
"""By the name for --format, in alphabetical order. A test holds that it has all that the modules have."""


def open_source(path: Path, options: SourceOptions) -> tuple[Source, list[FormatFile]]:
    """The source's format and what is to be read of it, in order. Raises UserError if it is of none, or of several."""
    format = _chosen(path, options)
    options.check_used(f"format {format.name}", (*FOR_ALL, *format.flags))
    parts = list(format.parts(path))
    if not parts:
        raise UserError(f"{path}: contains nothing of --format={format.name} ({format.about}): pass its file or folder")
    format.check(parts, options)
    files = [
        FormatFile(part, split, options.lang or "")
        for part in parts
        for split in format.splits(part, options) or (_split(path, part, options.split),)
    ]
    return Source(format, options), sorted(files, key=lambda file: SPLITS.index(file.split))


def recognised(path: Path, general: bool = True) -> dict[str, str]:
    """The formats that a source may be of, each with the reason: those that all of its parts fit; `general` ones
    (see `Format`) only where no other surely fits, if at all."""
    found: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for format in FORMATS.values():
        if reason := _reason(format, path):
            found[format.general][format.name] = reason
    is_sure = any(not isinstance(reason, WeakReason) for reason in found[False].values())
    return found[False] if is_sure or not general else found[False] | found[True]


def check_whole(path: Path) -> None:
    """Raises UserError for a source some of whose files are of a format that the others are not of."""
    answers: dict[bool, list[str]] = {False: [], True: []}
    for format in FORMATS.values():
        reasons = {sample.path: format.recognise(sample) for sample in _samples(format, path)}
        others = [str(part.relative_to(path)) for part, reason in reasons.items() if not reason]
        if 0 < len(others) < len(reasons):
            answers[format.general].append(f"--format={format.name} fits all but {', '.join(others[:_MOST_LISTED])}")
    if found := answers[False] or answers[True]:
        raise UserError(f"{path}: has files of several formats, or of none: move others away ({'; '.join(found)})")


def _reason(format: Format, path: Path) -> str | None:
    """Why the first part of a source is of a format, or the first of which that is sure; None unless all are."""
    found: str | None = None
    for sample in _samples(format, path):
        if not (reason := format.recognise(sample)):
            return None
        if found is None or (isinstance(found, WeakReason) and not isinstance(reason, WeakReason)):
            found = reason
    return found


def _samples(format: Format, path: Path) -> Iterator[Sample]:
    """Of a format's parts that say something: an empty file may be of any format."""
    samples = (Sample(part) for part in format.parts(path))
    return (sample for sample in samples if sample.head or sample.path.is_dir())


def _chosen(path: Path, options: SourceOptions) -> Format:
    name = options.format
    if not path.exists():
        raise UserError(f"{path}: no such folder or file; pass the folder that holds the corpus files")
    if name != "auto":
        if name not in FORMATS:
            raise UserError(f"--format={name}: must be one of auto, jsonl, smiler, {', '.join(FORMATS)}")
        return FORMATS[name]
    found = recognised(path)
    if not found and options.map:
        found = {name: "--map" for name, format in FORMATS.items() if format.general and list(format.parts(path))}
    if len(found) == 1:
        [(name, reason)] = found.items()
        log.warning("%s: read as --format=%s, recognised by: %s", path, name, reason)
        return FORMATS[name]
    if not found:
        check_whole(path)
        inner = sorted({str(file.parent) for file in path.glob("*/*_corpora_*.tsv")})
        hint = f"; did you mean {', '.join(inner)}?" if inner else ""
        raise UserError(
            f"{path}: contains no corpus files (*_corpora_*.tsv or *.train.jsonl){hint}, and is of no other format "
            f"that is recognised; if it is of one of these, pass it as --format: {', '.join(FORMATS)}"
        )
    answers = "; ".join(f"--format={name} ({reason})" for name, reason in found.items())
    raise UserError(f"{path}: may be of several formats: pass {answers}")


def _split(source: Path, part: Path, given: str) -> str:
    if given != "auto":
        return given
    for name in reversed([source.name, *part.relative_to(source).parts]):
        words = splits_in(name)
        if len(words) == 1:
            return words.pop()
        if words:
            break
    raise UserError(f"{part}: its name doesn't say whether it is for train, dev or test: pass --split")
