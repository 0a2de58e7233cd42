"""The commands that read or make corpora; `mere_ds.cli` has the others, and lists them all."""

import gc
import json
import sys
from typing import Any, Literal

from mere_ds.config import CutMarks, English
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.flags import helped_by
from mere_ds.knobs import takes_knobs
from mere_ds.parts import asked_for


@takes_knobs(SourceOptions)
def inspect(
    source: str,
    *,
    languages: str = "all",
    english: English = "auto",
    cut_marks: CutMarks = "repair",
    rejects: str | None = None,
    label_map: str | None = None,
    **given: Any,
) -> None:
    """Report what a corpus contains: rows, what was repaired or rejected, labels by language, lengths, overlaps.

    Examples:
        mere-ds inspect smiler/
        mere-ds inspect smiler/ --languages=EURO --english=mid --rejects=rejects.jsonl
        mere-ds inspect annotations/ --format=brat --lang=es

    Args:
        source: Folder with {lang}_corpora_{train,test}.tsv, or with {lang}.{train,dev,test}.jsonl, or a corpus in a
            format that mere-ds convert reads.
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        english: Which English files to use if there are several: small, mid or full.
        cut_marks: What to do with a row whose entity is cut off at an abbreviation's dot: repair or reject it.
        rejects: File for the repaired and rejected rows, one JSON object per line.
        label_map: JSON file with new names of labels, such as {"born": "birth-place", "unwanted": null}; null drops.
    """
    options = SourceOptions(**given)
    from mere_ds.corpus.folder import open_corpus
    from mere_ds.corpus.inspection import format_table, inspect_corpus

    corpus = open_corpus(source, languages, english, cut_marks, options=options, label_map=label_map)
    print(format_table(inspect_corpus(corpus, rejects)))


def _with_formats(doc: str) -> str:
    """A command's docstring with a list of the formats, each with the flags that not every format takes."""
    from mere_ds.corpus.formats.registry import FORMATS  # all formats: only who asks for help waits for them

    listed = "\n".join(
        f"    {name}: {format.about}" + f" [{', '.join(f'--{flag}' for flag in format.flags)}]" * bool(format.flags)
        for name, format in FORMATS.items()
    )
    return doc.replace("\nExamples:\n", f"\nFormats:\n{listed}\n\nExamples:\n")


@helped_by(_with_formats)
@takes_knobs(SourceOptions)
def convert(
    source: str,
    out: str,
    *,
    to: Literal["brat", "jsonl", "label-studio", "parquet", "spacy"] = "jsonl",
    languages: str = "all",
    negative_label: tuple[str, ...] = (),
    label_map: str | None = None,
    add: bool = False,
    overwrite: bool = False,
    **given: Any,
) -> None:
    """Convert a corpus of any format to JSON lines or a format of --to, and account for every row and relation of it.

    Writes into OUT: the files, such as de.train.jsonl; rejects.jsonl (what was rejected, left out or repaired, and
    why); conversion.json (the counts, and what they were made from). Prints the tables of mere-ds inspect.
    docs/formats.md says for each format what is read and how.

    Examples:
        mere-ds convert annotations/ corpus/ --format=brat --lang=es
        mere-ds convert export.jsonl corpus/ --format=doccano --lang=de --split=train --offsets=utf16
        mere-ds convert WebNLG/ corpus/ --lang=en --ambiguous=first
        mere-ds convert data.parquet corpus/ --lang=en --split=train --map=text=sentence,head=subj,tail=obj
        mere-ds convert more/ corpus/ --lang=ru --add
        mere-ds convert corpus/ for_brat/ --to=brat

    Args:
        source: A file, or a folder with the files of one format. What names of files and folders say of train, dev and
            test counts.
        out: Folder for the result.
        to: The format to write: brat, jsonl, label-studio, parquet or spacy.
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        negative_label: Labels that mean that there is no triple, such as no_relation,NA.
        label_map: JSON file with new names of labels, such as {"born": "birth-place", "unwanted": null}; null drops.
        add: Keep what an earlier mere-ds convert with the same --to wrote to OUT, and write new files beside it.
        overwrite: Replace OUT if it exists.
    """
    options = SourceOptions(**given)
    from mere_ds.converting import convert_corpus
    from mere_ds.corpus.inspection import format_table

    print(
        format_table(
            convert_corpus(
                source,
                out,
                options,
                languages=languages,
                to=to,
                negative_labels=negative_label,
                label_map=label_map,
                add=add,
                overwrite=overwrite,
            )
        )
    )


def download(out: str) -> None:
    """Download SMiLER's two archives and unpack them; a broken download resumes where it stopped.

    Examples:
        mere-ds download smiler/

    Args:
        out: Folder for archives and TSV files.
    """
    from mere_ds.corpus.download import download

    print(json.dumps(download(out), indent=2))


def synthesize(
    out: str,
    *,
    sentences: int,
    seed: int = 0,
    languages: str = "all",
    english: Literal["small", "mid", "full"] = "small",
    quirks: bool = True,
    at_least: int = 0,
    triples: Literal["one", "many"] = "one",
) -> None:
    """Write a synthetic corpus in SMiLER's format or in JSON lines: 14 languages, 36 labels, SMiLER's proportions.

    Examples:
        mere-ds synthesize corpus/ --sentences=20000 --seed=1
        mere-ds synthesize corpus/ --sentences=20000 --triples=many

    Args:
        out: Folder for the files.
        sentences: Number of sentences in total, including test (2 %).
        seed: Random seed; the same seed gives the same files, byte for byte.
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        english: Size of the English share: small, mid or full.
        quirks: Whether to add SMiLER's defects at their measured rates; JSON lines have none.
        at_least: Minimum number of sentences per language; SMiLER's proportions give Ukrainian 0.3 %.
        triples: one (TSV, one triple per sentence) or many (JSON lines, 0 to 5 triples per sentence).
    """
    from mere_ds.corpus.synthetic.generator import format_table, synthesize

    counts = synthesize(out, sentences, seed, languages, english, quirks, at_least, triples=triples)
    print(format_table(counts) if triples == "many" else json.dumps(counts, ensure_ascii=False, indent=2))


@takes_knobs(SourceOptions)
def shard(
    source: str,
    out: str,
    *,
    encoder: str = "bert-base-multilingual-cased",
    languages: str = "all",
    english: English = "auto",
    cut_marks: CutMarks = "repair",
    max_length: int = 256,
    windows: bool = False,
    seed: int = 0,
    prune_vocabulary: bool = False,
    parallel_ids: bool = False,
    dev_share: float | None = None,
    triples: Literal["auto", "one", "many"] = "auto",
    negative_label: tuple[str, ...] = (),
    label_map: str | None = None,
    drop_leaks: bool = False,
    part: str | None = None,
    join: int | None = None,
    overwrite: bool = False,
    **given: Any,
) -> None:
    """Tokenise a corpus into WebDataset shards with a manifest.

    Several machines share the work by --part: each makes a part in OUT/parts, and --join makes OUT of them, with the
    same bytes as one machine. The same command makes a part again that was stopped or killed.

    Examples:
        mere-ds shard smiler/ shards/
        mere-ds shard smiler/ shards/ --encoder=e5-small --prune_vocabulary --languages=SVO
        mere-ds shard corpus/ shards/ --encoder=tiny
        mere-ds shard smiler/ shards/ --triples=many --negative_label=no_relation
        mere-ds shard corpus/ shards/ --part=2/4
        mere-ds shard corpus/ shards/ --join=4

    Args:
        source: Folder with {lang}_corpora_{train,test}.tsv, or with {lang}.{train,dev,test}.jsonl, or a corpus in a
            format that mere-ds convert reads.
        out: Folder for shards, manifest.json, rejects.jsonl and encoder/.
        encoder: A folder or a model on the hub; tiny (random weights, for tests); e5-small (needs no hub).
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        english: Which English files to use if there are several: small, mid or full.
        cut_marks: What to do with a row whose entity is cut off at an abbreviation's dot: repair or reject it.
        max_length: Maximum number of tokens per sentence, including [CLS], the language symbol and [SEP].
        windows: With many triples: a training sentence of more than max_length tokens becomes several that overlap by
            half, and is not cut off.
        seed: Random seed for the dev split, the order of sentences and tiny's weights.
        prune_vocabulary: For e5-small: keep only the word pieces that the corpus uses.
        parallel_ids: Rows with the same id (apart from a leading language code: de-12, fr-12) are translations of each
            other: all or none of them go to dev, so that no dev sentence has a translation in training.
        dev_share: Share of each language's training sentences to use as dev, up to 0.5 (None: as many as in test).
        triples: Triples a sentence: one, or many (any number); auto: one for SMiLER's files, many for all others.
        negative_label: With many triples: labels that mean that there is no triple, such as no_relation,NA.
        label_map: JSON file with new names of labels, such as {"born": "birth-place", "unwanted": null}; null drops.
        drop_leaks: Take sentences whose text is in test out of training and dev.
        part: Make only this part of OUT, such as 2/4, the second of four; --join makes OUT of them.
        join: Make OUT of this many parts, after all of them; the other flags are those of the parts.
        overwrite: Replace OUT, or its part, if it exists.
    """
    how: dict[str, Any] = {
        "encoder": encoder,
        "languages": languages,
        "english": english,
        "cut_marks": cut_marks,
        "max_length": max_length,
        "seed": seed,
        "prune_vocabulary": prune_vocabulary,
        "parallel_ids": parallel_ids,
        "dev_share": dev_share,
        "triples": triples,
        "negative_labels": negative_label,
        "label_map": label_map,
        "drop_leaks": drop_leaks,
        "windows": windows,
        "options": SourceOptions(**given),
        "overwrite": overwrite,
    }
    share = asked_for(part, join)
    from mere_ds.shards.summary import summary
    from mere_ds.shards.writing import join_shards, shard_corpus, shard_part

    gc.freeze()  # modules stay anyway: without this the collector goes through all of them many times
    if part:
        made = shard_part(source, out, share, **how)
        told = "is whole already: nothing to do" if made is None else f"{made:,} sentences"
        sys.stderr.write(f"{out}, part {part}: {told}\n")
        return
    print(summary(join_shards(source, out, share.of, **how) if join else shard_corpus(source, out, **how)))
