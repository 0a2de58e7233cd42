"""A corpus, or the units of a part of it -> tokenised sentences, and all that is decided about the whole corpus.

Every part reads all rows, so that each knows the same of the whole: which rows are dev or left out, and what repeats.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.repeats import ReadRows
from mere_ds.corpus.rows import RejectsFile
from mere_ds.encoders.sources import EncoderInfo, build_encoder, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.parts import WHOLE, Part
from mere_ds.shards.collecting import Gathered, collect
from mere_ds.shards.dividing import Division
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import ENCODER, REJECTS
from mere_ds.shards.settings import ShardSettings


@dataclass
class Tokenised:
    """Tokens, texts, rejects and the encoder are in files."""

    languages: list[str]
    gathered: Gathered
    encoder: EncoderInfo
    pad_id: int
    repeats: dict
    """See `ReadRows.repeats`."""
    leaks: np.ndarray
    """bool [rows read]; those that are left out because test has their text."""
    dev: np.ndarray
    """bool [rows read]; those that are dev."""


def tokenise(corpus: Corpus, settings: ShardSettings, folder: Path, work: Path, part: Part = WHOLE) -> Tokenised:
    """Encoder and rejects go to the folder `folder`, which is made; what else is written goes to `work`.

    Raises UserError for bad input.
    """
    codes, seed = corpus.languages, settings.seed
    rows = ReadRows(codes, keep_ids=settings.parallel_ids)
    division = Division(corpus, rows, seed, settings.dev_share, settings.drop_leaks)
    # tiny learns its word pieces from training without dev; pruning keeps those of all texts
    texts = division.training_texts if settings.encoder == "tiny" else partial(_all_texts, corpus)
    info = build_encoder(
        settings.encoder, folder / ENCODER, texts, codes, seed, settings.prune_vocabulary, settings.tiny
    )
    if settings.max_length > info.max_length:
        raise UserError(
            f"--max_length={settings.max_length}: must be at most {info.max_length}, the limit of {settings.encoder}"
        )
    encoder = SentenceEncoder(load_tokenizer(folder / ENCODER), codes, settings.max_length)
    divisible = division.divisible() if settings.windows else None
    with RejectsFile(folder / REJECTS) as rejects:
        gathered = collect(corpus, encoder, rejects.write, work, rows, divisible, part)
    if len(rows) != gathered.rows_read:
        raise UserError(f"{corpus.folder}: its files changed while they were read: run the same command again")
    leaks, dev = division.held_out()
    return Tokenised(codes, gathered, info, encoder.pad_id, rows.repeats(), leaks, dev)


def _all_texts(corpus: Corpus) -> Iterator[str]:
    return (compose(example.text)[0] for file in corpus.files for example in corpus.read(file))
