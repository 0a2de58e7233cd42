"""Every format, and which of them a source is of."""

import re
from pathlib import Path

from mere_ds.corpus.formats import (
    brat,
    conll04,
    crossre,
    doccano,
    docred,
    fewrel,
    gliner2,
    glirel,
    klue,
    label_studio,
    marked_text,
    opennre,
    prodigy,
    rebel,
    scierc,
    spacy_docbin,
    strings,
    tacred,
    webanno_tsv,
    xmi,
)
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.sentences import FormatFile, Source
from mere_ds.corpus.formats.stated import Format
from mere_ds.corpus.rows import SPLITS
from mere_ds.errors import UserError

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        *brat.FORMATS,
        *conll04.FORMATS,
        *crossre.FORMATS,
        *doccano.FORMATS,
        *docred.FORMATS,
        *fewrel.FORMATS,
        *gliner2.FORMATS,
        *glirel.FORMATS,
        *klue.FORMATS,
        *label_studio.FORMATS,
        *marked_text.FORMATS,
        *opennre.FORMATS,
        *prodigy.FORMATS,
        *rebel.FORMATS,
        *scierc.FORMATS,
        *spacy_docbin.FORMATS,
        *strings.FORMATS,
        *tacred.FORMATS,
        *webanno_tsv.FORMATS,
        *xmi.FORMATS,
    )
}
"""By the name for --format."""

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "develop", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
_WORD = re.compile(r"[a-z]+")


def open_source(path: Path, options: SourceOptions) -> tuple[Source, list[FormatFile]]:
    """The source's format and what is to be read of it, in order. Raises UserError if it is of none, or of several."""
    format = _chosen(path, options.format)
    parts = list(format.parts(path))
    if not parts:
        raise UserError(f"{path}: contains nothing of --format={format.name} ({format.about})")
    files = [FormatFile(part, _split(path, part, options.split), options.lang or "") for part in parts]
    return Source(format, options), sorted(files, key=lambda file: SPLITS.index(file.split))


def recognised(path: Path) -> dict[str, str]:
    """The formats that a source may be of, each with the reason: those that all of its parts fit."""
    found = {}
    for format in FORMATS.values():
        reasons = [format.recognise(Sample(part)) for part in format.parts(path)]
        if reasons and all(reasons):
            found[format.name] = str(reasons[0])
    return found


def _chosen(path: Path, name: str) -> Format:
    if not path.exists():
        raise UserError(f"{path}: no such folder or file; pass the folder that holds the corpus files")
    if name != "auto":
        if name not in FORMATS:
            raise UserError(f"--format={name}: must be one of auto, {', '.join(sorted(FORMATS))}")
        return FORMATS[name]
    found = recognised(path)
    if len(found) == 1:
        return FORMATS[next(iter(found))]
    if not found:
        inner = sorted({str(file.parent) for file in path.glob("*/*_corpora_*.tsv")})
        hint = f"; did you mean {', '.join(inner)}?" if inner else ""
        raise UserError(
            f"{path}: contains no corpus files (*_corpora_*.tsv or *.train.jsonl){hint}, and is of no other format "
            f"that is recognised; if it is of one of these, pass it as --format: {', '.join(sorted(FORMATS))}"
        )
    answers = "; ".join(f"--format={name} ({reason})" for name, reason in found.items())
    raise UserError(f"{path}: may be of several formats: pass {answers}")


def _split(source: Path, part: Path, given: str) -> str:
    if given != "auto":
        return given
    for name in reversed([source.name, *part.relative_to(source).parts]):
        words = {_SPLIT_WORDS[word] for word in _WORD.findall(name.lower()) if word in _SPLIT_WORDS}
        if len(words) == 1:
            return words.pop()
        if words:
            break
    raise UserError(f"{part}: its name doesn't say whether it is for train, dev or test: pass --split")
