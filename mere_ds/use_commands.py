"""The command that uses a trained model, `mere-ds extract`; `mere_ds.cli` has the others, and lists them all."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mere_ds.bulk.reading import Source, format_of, open_source, whole_text
from mere_ds.bulk.settings import ExtractSettings, processes_for
from mere_ds.bulk.writing import Writer, form_of
from mere_ds.config import AUTO
from mere_ds.errors import UserError
from mere_ds.files import check_apart, json_line, naming
from mere_ds.knobs import deciding, takes_knobs
from mere_ds.runs.trained import used_model
from mere_ds.versions import version_of

if TYPE_CHECKING:
    from mere_ds.bulk.progress import Totals
    from mere_ds.bulk.run import Job, Options


@takes_knobs(ExtractSettings)
def extract(run: str, text: str | None = None, **given: Any) -> None:
    """Print the triples of each text as a line of JSON, with character offsets, or write them to a file.

    A model that was trained on one triple a sentence gives each text one, or none where its relation is a negative
    label, such as SMiLER's no_relation. One that was trained on any number gives those whose score, the probability
    that the triple is right, reaches the threshold with the best F1 on dev; the highest score comes first, and a text
    may get none.

    TEXT is a text, never the name of a file: files are passed as --file, and a TEXT that names an existing file is
    refused. Pass one that begins with a dash after -- or as --text=TEXT. Without TEXT and --file, standard input is
    read. The name of a file tells its format: .jsonl (or .ndjson) JSON lines, .csv and .tsv tables with a header,
    .parquet, and any other name one text a line; .gz and .zst at its end are decompressed. Everything is UTF-8,
    whatever the locale; only a line feed ends a line, with or without a carriage return before it.

    Every row gets exactly one answer, in order. Its fields are kept; one of them that is called like one of the
    answer's own (lang, triples, note) becomes input_triples and so on. A row that can't be read gets no triples and a
    note that says why and in which line; the others go on, and at the end standard error says how many notes of each
    kind there are. Of a text longer than the model's max_length tokens only the beginning is read, and a note says so.
    With --lang=auto a text whose language is unclear, or none of the model's, gets no triples and a note.
    Rows of standard input are answered as soon as no further input is waiting.

    OUT appears when it is whole. If the command was stopped or killed, the same command goes on where it was, with the
    same result: what is done lies in .OUT.work beside OUT. OUT.record.json says what OUT was made from.
    On another machine it goes on in the precision that it was begun in, and parts in different ones are not joined.

    Examples:
        mere-ds extract runs/a --lang=de "Anna Berg wurde in Köln geboren."
        mere-ds extract runs/a --lang=ko --file=sentences.txt > triples.jsonl
        cat sentences.txt | mere-ds extract runs/a --lang=ko
        mere-ds extract runs/a --lang=auto --file=posts.csv --text_field=body --out=triples.jsonl.zst
        mere-ds extract runs/a --lang_field=lang --file=news.jsonl.gz --out=triples.parquet
        mere-ds extract runs/a --lang=de --file=news.parquet --text_field=body --out=graph --to=neo4j --processes=8

    Args:
        run: Run folder, the folder of a checkpoint or of an exported model, or hf://org/name on the hub.
        text: One text.
    """
    settings = ExtractSettings(**given)
    source = None
    if text is not None:
        settings.check_alone(text)
    elif settings.document:
        text = whole_text(settings.file)
    else:
        format = settings.input_format or format_of(settings.file)
        settings.check_fields(format)
        fields = settings.text_field or "text", settings.lang_field
        source = open_source(settings.file, format, *fields, at_once=settings.out is None)
    form = form_of(settings.out, settings.to) if settings.out else ("jsonl", "")
    if settings.candidates and form[0] != "jsonl":
        raise UserError(f"--candidates: only JSON lines hold them, not {form[0]}: leave it out, or pass --to=jsonl")
    model = used_model(run, settings.which)
    language = settings.lang and model.check_language(settings.lang)  # before torch is loaded
    model.check_k(settings.k)
    if not model.finished:
        sys.stderr.write(f"{run}: stage {model.stage} is not finished: using its model at step {model.step}\n")
    beside = {"stage": model.stage} if model.lacks_stage_two else {}
    if source is None:
        return _print_one(settings, text or "", model.folder, language or "", beside)
    from mere_ds.bulk.run import Job

    keeps = not (source.parser.format == "parquet" == form[0])  # else the fields are read again at the end
    job = Job(model.folder, _options(settings), language, source.parser, Writer(*form, beside, keeps), not source.path)
    totals = _answer_rows(settings, source, job, model.sha256)
    if totals and (settings.out or totals.notes):
        part = f", part {settings.part}" if settings.part else ""
        sys.stderr.write(f"{settings.out or source.name}{part}: {totals}\n")


def _answer_rows(settings: ExtractSettings, source: Source, job: "Job", model: str) -> "Totals | None":
    """To a file or to standard output; `model` is the model's digest. None if there was nothing to do."""
    from mere_ds.backends.loading import precision_here
    from mere_ds.bulk.finishing import begun_with
    from mere_ds.bulk.run import Target, answer_file, answer_stream, input_digest, join_parts

    if settings.out is None:
        show = source.path is not None or not (sys.stdin.isatty() or sys.stdout.isatty())
        return answer_stream(job, source, settings.processes or 1, sys.stdout.buffer, show)
    if (settings.part or settings.join) and source.path is None:
        raise UserError(f"--part and --join: {source.name} can be read only once: pass a file")
    if source.path and Path(settings.out).resolve() == source.path.resolve():
        raise UserError(f"--out={settings.out}: --out is the input: choose another file")
    if job.writer.format == "neo4j":
        check_apart("--out", settings.out, **{"--file": source.path})
    if settings.precision == "auto":  # what it is here must hold for all of OUT, wherever the rest is made
        besides = None if settings.resume else settings.share
        begun = begun_with(Path(settings.out), "precision", besides, settings.overwrite)
        precision = begun or precision_here(job.model)
        job = replace(job, options=replace(job.options, precision=precision))
    detects = job.language == AUTO or settings.lang_field is not None
    what = {
        **{"model": model, "input": input_digest(source), "input_format": source.parser.format},
        **{"lang": job.language, "to": "".join((job.writer.format, job.writer.compression))},
        **{"precision": job.options.precision, "detector": version_of("eldc") if detects else None},
    }
    made_from = json.loads(json.dumps(deciding(settings) | what))  # as it will be read
    target = Target(Path(settings.out), made_from, settings.share, settings.overwrite, settings.resume)
    if settings.join:
        totals = join_parts(job, source, target)
    else:
        totals = answer_file(job, source, target, settings.processes or processes_for(job.model))
    if totals is None:
        sys.stderr.write(f"{settings.out}: is whole already: nothing to do\n")
    return totals


def _options(settings: ExtractSettings) -> "Options":
    from mere_ds.bulk.run import Options

    negative = () if settings.keep_negative else settings.negative_label
    s, limits = settings, (settings.min_score, settings.max_triples)
    return Options(s.k, *limits, negative, s.batch_size, s.precision, s.candidates, s.threads)


def _print_one(settings: ExtractSettings, text: str, folder: Path, language: str, beside: dict[str, Any]) -> None:
    """The answer of one text; of a document its triples."""
    from mere_ds.inference import Extractor

    extractor = Extractor.load(folder, **asdict(_options(settings)))
    if settings.document:
        from mere_ds.documents import extract_document, language_of

        language = language_of(extractor, text, language)
        answers: Iterable[dict] = extract_document(extractor, text, language)
        beside = {"lang": language} | beside
    else:
        answers = extractor.extract([text], language)
    with naming(Path("standard output")):
        for answer in answers:
            sys.stdout.buffer.write(json_line(answer | beside))
        sys.stdout.buffer.flush()
