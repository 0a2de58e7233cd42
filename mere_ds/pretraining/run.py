"""`mere-ds pretrain-mtmb`: trains an encoder further on a corpus of marked sentences."""

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.graphemes import compose
from mere_ds.encoders.sources import EncoderInfo, build_encoder, load_encoder, load_tokenizer
from mere_ds.encoders.weights import new_rows, word_embeddings
from mere_ds.errors import UserError
from mere_ds.files import check_apart
from mere_ds.knobs import deciding
from mere_ds.lease import WriterLease
from mere_ds.pretraining.batches import MARKS, Collator
from mere_ds.pretraining.folder import PretrainFolder
from mere_ds.pretraining.learner import BlanksLearner
from mere_ds.pretraining.objectives import Blanks
from mere_ds.pretraining.pairing import Pairing
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.pretraining.statements import FRAME, Statements, read_statements, train_corpus
from mere_ds.pretraining.trainer import BlanksTrainer
from mere_ds.pretraining.word_head import read_word_head
from mere_ds.ranks.stop import StopSignals
from mere_ds.training.observers import Observer
from mere_ds.training.process import Process


def pretrain(settings: PretrainSettings, observers: Iterable[Observer] = ()) -> dict:
    """Train, save an encoder folder and return {"out", "steps", and the means since the last record}.

    The folder's tokenizer and number of embeddings are those of the initial encoder: what training adds, five
    embeddings for marks and blank and two heads, is removed. The same settings and corpus give the same weights, on a
    CPU bit for bit, interrupted or not. `observers` follow the training (see `training.observers.Observer`). Must be
    called in the main thread: after USR1, TERM or Ctrl-C it saves and exits with code 85 (SystemExit). Raises
    UserError for bad input or a loss that isn't finite, and MachineError.
    """
    corpus = train_corpus(settings.tsv_dir, settings.languages, settings.english, settings.cut_marks, settings)
    encoder = settings.encoder if Path(settings.encoder).is_dir() else None
    check_apart("--out", settings.out, **{"TSV_DIR": settings.tsv_dir, "--encoder": encoder})
    folder = PretrainFolder(settings.out)
    with folder.taken() as lease:
        _pretrain(settings, corpus, folder, lease, observers)
    result = folder.result
    assert result is not None  # it is finished
    return {"out": str(folder.root), **result}


def _pretrain(
    settings: PretrainSettings,
    corpus: Corpus,
    folder: PretrainFolder,
    lease: WriterLease,
    observers: Iterable[Observer],
) -> None:
    encoder, tokenizer, info = _start_encoder(settings, corpus)
    statements = read_statements(corpus, tokenizer, settings.max_length, settings.parallel_ids)
    pairing = Pairing(statements)
    head = read_word_head(info)
    print(pairing.summary())
    print("masked word head:", "the encoder's own" if head else "new", flush=True)
    collator = Collator(statements, tokenizer, info.vocab_size, settings.blank, settings.mask, settings.seed)
    data = {"tokenizer": info.fingerprint, "revision": info.revision, "corpus": _digest(statements)}
    ingredients = deciding(settings) | data
    folder.start(ingredients, settings.overwrite)
    if folder.result is not None:
        return folder.check_finished()
    model = Blanks(encoder, info.vocab_size)
    model.load_state_dict(head, strict=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learner = BlanksLearner(model, settings, device)
    with StopSignals("mere-ds pretrain-mtmb") as stop:
        process = Process(device=device, stop=stop, lease=lease)
        trainer = BlanksTrainer(process, settings, folder, pairing, collator, learner, ingredients, observers)
        trainer.run(asdict(settings))
    encoder.resize_token_embeddings(info.vocab_size, mean_resizing=False)
    lease.check()
    folder.finish(encoder, tokenizer, trainer.result)


def _start_encoder(
    settings: PretrainSettings, corpus: Corpus
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, EncoderInfo]:
    """The encoder with an extra embedding row for each of `MARKS`, its tokenizer without them, and its description."""

    def texts() -> Iterable[str]:
        return (compose(example.text)[0] for file in corpus.files for example in corpus.read(file))

    torch.manual_seed(settings.seed)
    with tempfile.TemporaryDirectory() as temporary:
        start = Path(temporary)
        info = build_encoder(settings.encoder, start, texts, [], settings.seed)
        tokenizer, encoder = load_tokenizer(start), load_encoder(start, info)
    if not FRAME < settings.max_length <= info.max_length:
        raise UserError(f"--max_length={settings.max_length}: must be between {FRAME + 1} and {info.max_length}")
    rows = new_rows(word_embeddings(encoder).weight.detach(), len(MARKS), settings.seed)
    encoder.resize_token_embeddings(info.vocab_size + len(MARKS), mean_resizing=False)
    with torch.no_grad():
        word_embeddings(encoder).weight[info.vocab_size :] = rows
    return encoder, tokenizer, info


def _digest(statements: Statements) -> str:
    """sha256 (hex) of the training data."""
    digest = hashlib.sha256()
    for array in (statements.pieces, statements.ends, statements.spans, statements.groups, statements.languages):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
