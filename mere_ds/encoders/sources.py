"""Encoders from `tiny`, `e5-small`, a folder, or a model on the hub.

`build_encoder` writes a folder with configuration and tokenizer (language symbols included) that is stored with shards
and checkpoints; `load_encoder` (in `loading`) creates the model from its own weights or from others with the same
vocabulary.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from mere_ds.encoders import e5, hub
from mere_ds.encoders import tiny as tiny_bert
from mere_ds.encoders.families import auto_class, check_family, usable_positions
from mere_ds.encoders.info import EncoderInfo
from mere_ds.encoders.loading import (
    check_undamaged,
    encoder_damage,
    load_encoder,
    locate_weights,
    quiet,
    weights_digest,
)
from mere_ds.encoders.tiny import TinySize
from mere_ds.encoders.tokenizer_files import language_symbol
from mere_ds.encoders.tokens import (
    add_languages,
    adopt,
    fingerprint,
    load_tokenizer,
    save_tokenizer,
)
from mere_ds.errors import UserError, first_line
from mere_ds.files import expanded

__all__ = [
    "EncoderInfo",
    "TinySize",
    "build_encoder",
    "encoder_damage",
    "fingerprint",
    "language_symbol",
    "load_encoder",
    "load_tokenizer",
    "locate_weights",
    "usable_positions",
    "weights_digest",
]

_TOKENIZER_BYTES = 20 << 20  # XLM-R's takes 17 MB


def build_encoder(
    source: str,
    out: Path,
    texts: Callable[[], Iterable[str]],
    languages: list[str],
    seed: int = 0,
    prune_vocabulary: bool = False,
    tiny: TinySize = TinySize(),  # noqa: B008 (frozen)
) -> EncoderInfo:
    """Writes the folder `out`: config.json, the tokenizer with one token `[xx]` per language and, for `tiny` and
    `e5-small`, model.safetensors. Weights of a folder or of a hub model stay where they are.

    `texts()` returns the corpus' sentences; only `tiny` and a pruned `e5-small` read them. `prune_vocabulary` reduces
    e5-small's vocabulary to the pieces that occur in them, single characters and special tokens.
    UserError for a source that can't be found or used; the message lists the choices.
    """
    assert len(set(languages)) == len(languages), "duplicate languages"
    if prune_vocabulary and source != "e5-small":
        raise UserError(
            f"the vocabulary of {source!r} can't be pruned, only that of `e5-small`: remove --prune_vocabulary"
        )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    kind, revision, positions = source, None, None
    config: PretrainedConfig
    if source == "tiny":
        tokenizer = tiny_bert.train_tokenizer(texts(), tiny, seed)
        new_ids = add_languages(tokenizer, languages)
        config = tiny_bert.write_model(out, tokenizer, tiny, seed)
    elif source == "e5-small":
        file = e5.E5File(e5.find_file())
        kept = e5.pieces_in_use(file, texts()) if prune_vocabulary else None
        tokenizer = e5.build_tokenizer(file, kept)
        new_ids = add_languages(tokenizer, languages)
        config = e5.write_model(out, file, kept, len(new_ids), seed)
    else:
        kind, source, revision, folder = _locate(source)
        if out.resolve() == folder.resolve():
            raise UserError(f"the encoder {folder} can't be written to its own folder: choose another output folder")
        tokenizer, added, config, positions = _read(folder, source)
        new_ids = sorted({*added, *add_languages(tokenizer, languages)})
        config.vocab_size = max(config.vocab_size, 1 + max(tokenizer.get_vocab().values()))
        config.save_pretrained(out)
    save_tokenizer(tokenizer, out)
    numbers = tokenizer.get_vocab()
    return EncoderInfo(
        source=source,
        kind=kind,
        revision=revision,
        weights_in_folder=kind in ("tiny", "e5-small"),
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        max_length=min(positions or config.max_position_embeddings, tokenizer.model_max_length),
        language_token_ids={x: numbers[language_symbol(x)] for x in languages},
        new_token_ids=new_ids,
        seed=seed,
        fingerprint=fingerprint(tokenizer),
        weights_sha256=weights_digest(Path(source)) if kind == "folder" else None,
    )


def most_bytes(source: str, tiny: TinySize) -> int:
    """Approximate upper bound of what `build_encoder` writes, in bytes. UserError if e5-small isn't installed."""
    if source == "tiny":
        return 4 * tiny_bert.most_weights(tiny) + 100 * tiny.vocabulary
    weights = e5.EXPANDS * e5.find_file().stat().st_size if source == "e5-small" else 0
    return weights + _TOKENIZER_BYTES


def _locate(source: str) -> tuple[str, str, str | None, Path]:
    """Kind, source, revision and local folder of an encoder from a folder or the hub."""
    folder = expanded(source)
    if folder.is_dir():
        check_undamaged(folder)
        if not hub.has_any(folder, hub.WEIGHTS):
            raise UserError(f"there is no model in {folder} ({' or '.join(hub.WEIGHTS)}): {hub.CHOICES}")
        folder = folder.resolve()
        return "folder", str(folder), None, folder
    folder = hub.fetch(source, hub.SMALL_FILES)
    return "hub", source, folder.name, folder


def _read(folder: Path, source: str) -> tuple[PreTrainedTokenizerFast, list[int], PretrainedConfig, int]:
    """Tokenizer, ids of tokens added to it, configuration and usable positions of a folder that others wrote.

    UserError if it is not one of the architectures that can be the encoder, or has no fast tokenizer.
    """
    if not hub.has_any(folder, hub.VOCABULARIES):  # transformers would make an empty tokenizer
        raise UserError(f"encoder {source!r} has no tokenizer ({', '.join(hub.VOCABULARIES)}): {hub.CHOICES}")
    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            check_family(config, source)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except UserError:
            raise
        except Exception as error:  # tokenizers and transformers raise many types for unusable files
            raise UserError(f"encoder {source!r} can't be read ({first_line(error)}): {hub.CHOICES}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"encoder {source!r} has no fast tokenizer and so no character offsets: {hub.CHOICES}")
    if max(tokenizer.get_vocab().values()) >= config.vocab_size:
        raise UserError(
            f"encoder {source!r} has fewer embeddings than tokens, so its files don't belong together: {hub.CHOICES}"
        )
    with quiet(), torch.device("meta"):  # all shapes, no memory
        try:
            positions = usable_positions(auto_class(config).from_config(config, trust_remote_code=False))
        except Exception as error:  # as above
            raise UserError(f"encoder {source!r} can't be created ({first_line(error)}): {hub.CHOICES}") from error
    return *adopt(tokenizer), config, positions
