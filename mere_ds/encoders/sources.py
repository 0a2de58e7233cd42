"""Where an encoder comes from: `tiny`, `e5-small`, a folder, or a name on the hub.

`build_encoder` makes a folder with the configuration and the tokenizer, language symbols included, that shards and
checkpoints carry with them; `load_encoder` makes the model, from its own weights or from others of the same words.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from mere_ds.encoders import e5, hub
from mere_ds.encoders import tiny as tiny_bert
from mere_ds.encoders.tiny import TinySize
from mere_ds.encoders.tokens import (
    TOKENIZER_FILES,
    add_languages,
    fingerprint,
    first_line,
    language_symbol,
    load_tokenizer,
    roles_of,
    save_tokenizer,
    wrap,
)
from mere_ds.encoders.weights import new_rows, own_memory, word_embeddings
from mere_ds.errors import UserError, from_memory_error
from mere_ds.sums import SUMS, damage

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
    "weights_digest",
]

_TOKENIZER_BYTES = 20 << 20  # XLM-R's takes 17 MB
_ADVICE = (
    "give a folder with config.json and model.safetensors, or a model that the hub has; for MTMB, make one with "
    "`mere-ds pretrain-mtmb` and pass its folder"
)

log = logging.getLogger("mere_ds")


@dataclass(frozen=True)
class EncoderInfo:
    """What a shard manifest and a checkpoint remember of their encoder."""

    source: str
    """As given; a folder as its absolute path."""
    kind: str
    """"tiny", "e5-small", "folder" or "hub"."""
    revision: str | None
    """The hub's commit, so that the weights fetched later belong to this tokenizer."""
    weights_in_folder: bool
    """Whether the weights lie in the built folder, or still where they came from."""
    hidden_size: int
    vocab_size: int
    """Rows of the word embeddings, added tokens included."""
    max_length: int
    """The longest sequence that the encoder takes, in tokens."""
    language_token_ids: dict[str, int]
    new_token_ids: list[int]
    """Tokens whose embeddings the source doesn't have."""
    seed: int
    fingerprint: str
    """Of the tokenizer."""
    weights_sha256: str | None = None
    """`weights_digest` of a folder's weights, which stay there. None for others: those in the built folder are listed
    by whoever keeps it, and a hub's revision names its files."""

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "EncoderInfo":
        """The inverse of `as_dict`; UserError if another version of this package wrote the values."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(
                "the encoder's description is of another version of this package: make the shards again"
            ) from error


def build_encoder(
    source: str,
    out: Path,
    texts: Callable[[], Iterable[str]],
    languages: list[str],
    seed: int = 0,
    prune_vocabulary: bool = False,
    tiny: TinySize = TinySize(),  # noqa: B008 (frozen)
) -> EncoderInfo:
    """Makes the folder `out`: config.json, the tokenizer with a token `[xx]` a language and, for `tiny` and `e5-small`,
    model.safetensors. Weights of a folder or of a hub model stay where they are.

    `texts()` gives the corpus' sentences; only `tiny` and a pruned `e5-small` read them. `prune_vocabulary` keeps of
    e5-small's vocabulary the pieces that occur in them, single characters and special tokens.
    UserError for a source that can't be had or used; the line names the choices.
    """
    assert len(set(languages)) == len(languages), "a language twice"
    if prune_vocabulary and source != "e5-small":
        raise UserError(f"the vocabulary of {source!r} can't be pruned, only that of `e5-small`: leave the option out")
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
            raise UserError(f"the encoder {folder} can't be built onto itself: choose another output folder")
        tokenizer, config, positions = _read(folder, source)
        new_ids = add_languages(tokenizer, languages)
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
    """How much `build_encoder` writes at most, about. UserError where e5-small isn't installed."""
    if source == "tiny":
        return 4 * tiny_bert.most_weights(tiny) + 100 * tiny.vocabulary
    weights = e5.EXPANDS * e5.find_file().stat().st_size if source == "e5-small" else 0
    return weights + _TOKENIZER_BYTES


def load_encoder(
    folder: Path, info: EncoderInfo, dtype: torch.dtype = torch.float32, weights: Path | None = None
) -> PreTrainedModel:
    """The encoder that `build_encoder` described, from `folder` or from its source, embeddings of new tokens included.

    What the weights lack of a pooler, and the new tokens' embeddings, are drawn from `info.seed`: always the same.
    `weights` is a folder (see `locate_weights`) of other weights to take; of the language symbols, which they need not
    have, only those that their tokenizer knows. Attention is PyTorch's scaled_dot_product_attention wherever the
    architecture has it. UserError if the weights can't be had, if more than a pooler is missing in them, or if they
    are of another architecture, width or vocabulary.
    """
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(info.seed)
        if weights is not None:
            return _load_others(folder, info, dtype, weights)
        model = _load(_own_weights(folder, info), dtype)
        if not info.weights_in_folder:
            _add_rows(model, info)
    return model


def _own_weights(folder: Path, info: EncoderInfo) -> Path:
    """The folder of the weights that belong to the encoder in `folder`."""
    if info.weights_in_folder:
        path = Path(folder)
    elif info.kind == "hub":
        path = hub.fetch_weights(info.source, info.revision)
    else:
        path = Path(info.source)
    if not hub.has_any(path, hub.WEIGHTS):
        raise UserError(f"there are no weights in {path}: put the encoder's {' or '.join(hub.WEIGHTS)} there")
    if info.weights_sha256 not in (None, weights_digest(path)):
        raise UserError(
            f"the encoder in {path} is not what it was when the shards were made (its config.json or weights have "
            "another sha256): put it back, or run mere-ds shard again"
        )
    return path


def locate_weights(source: str) -> Path:
    """The local folder of weights that training is to start from: `source` itself or a hub model's files.

    A folder must hold safetensors. UserError where there are none or they are damaged, with what to do.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return hub.fetch_weights(source, None, _ADVICE)
    _check_undamaged(folder)
    if not (folder / "config.json").is_file() or not hub.has_any(folder, hub.WEIGHTS[:1]):
        raise UserError(f"there is no config.json and {hub.WEIGHTS[0]} in {folder}: {_ADVICE}")
    return folder.resolve()


def encoder_damage(folder: Path) -> str | None:
    """What is wrong with the files of an encoder that has `SHA256SUMS`; None if all are as they were written."""
    return damage(folder, last=TOKENIZER_FILES[-1])


def _check_undamaged(folder: Path) -> None:
    """Raises UserError for an encoder that has `SHA256SUMS` and other files than it lists."""
    if os.path.lexists(folder / SUMS) and (what := encoder_damage(folder)):
        raise UserError(
            f"the encoder in {folder} is damaged ({what}): copy it or make it again, or, if the change is meant, "
            f"remove its {SUMS}"
        )


def weights_digest(folder: Path) -> str:
    """sha256 (hex) of the files in a folder of `locate_weights` that decide what is loaded."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in ("config.json", *hub.WEIGHTS) for path in folder.glob(pattern)):
        digest.update(f"{path.name} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _load(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in a folder, where only a pooler may be missing; UserError otherwise."""
    try:
        model, report = AutoModel.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # of many kinds: a damaged file, other shapes, an unknown architecture
        if from_memory_error(error):
            raise
        raise UserError(f"the encoder in {path} can't be loaded: {first_line(error)}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UserError(f"the weights in {path} lack {len(missing)} tensors, such as {missing[0]}: get them again")
    own_memory(model)
    return model


def _load_others(folder: Path, info: EncoderInfo, dtype: torch.dtype, weights: Path) -> PreTrainedModel:
    """The encoder with `weights`, its word embeddings in the order of the tokenizer in `folder`."""
    model = _load(weights, dtype)
    wanted = AutoConfig.from_pretrained(folder, local_files_only=True)
    for name in ("model_type", "hidden_size", "max_position_embeddings"):
        ours, theirs = getattr(wanted, name, None), getattr(model.config, name, None)
        if ours != theirs:
            raise UserError(
                f"{weights} has {name} = {theirs}, the shards' encoder {info.source} {ours}: give weights of that "
                "encoder, or run mere-ds shard with this one"
            )
    theirs_VD = word_embeddings(model).weight.detach().clone()
    words = min(info.new_token_ids, default=info.vocab_size)
    symbols = _known_symbols(weights, folder, info, words, len(theirs_VD))
    model.resize_token_embeddings(words, mean_resizing=False)
    _add_rows(model, info)
    with torch.no_grad():
        embeddings_VD = word_embeddings(model).weight
        if info.weights_in_folder:
            own_VD = word_embeddings(load_encoder(folder, info, dtype)).weight
            embeddings_VD[info.new_token_ids] = own_VD[info.new_token_ids]
        embeddings_VD[list(symbols)] = theirs_VD[list(symbols.values())]
    return model


def _known_symbols(weights: Path, folder: Path, info: EncoderInfo, words: int, rows: int) -> dict[int, int]:
    """{row: row in `weights`} of the new tokens that these have too; UserError unless their first `words` are ours."""
    alien = UserError(
        f"the weights in {weights} have another vocabulary than the shards' encoder {info.source}: give weights of "
        "that encoder, or run mere-ds shard with this one"
    )
    if not hub.has_any(weights, hub.VOCABULARIES):  # then only the number of rows can tell
        if os.path.lexists(weights / TOKENIZER_FILES[-1]):
            raise UserError(
                f"{weights} has a {TOKENIZER_FILES[-1]} but no tokenizer ({', '.join(hub.VOCABULARIES)}): copy it again"
            )
        if rows not in (words, info.vocab_size):
            raise alien
        if rows > words:
            log.warning(
                "%s has no tokenizer: its %d rows beyond the words are not used, the language symbols start as the "
                "shards' encoder has them",
                weights,
                rows - words,
            )
        return {}
    try:
        theirs = AutoTokenizer.from_pretrained(weights, trust_remote_code=False, local_files_only=True).get_vocab()
    except Exception as error:  # as in `_read`
        raise UserError(f"the tokenizer in {weights} can't be read: {first_line(error)}") from error
    ours = load_tokenizer(folder).get_vocab()
    if rows < words or any(theirs.get(token) != row for token, row in ours.items() if row < words):
        raise alien
    new = set(info.new_token_ids)
    return {row: theirs[token] for token, row in ours.items() if row in new and theirs.get(token, rows) < rows}


def _add_rows(model: PreTrainedModel, info: EncoderInfo) -> None:
    """Grows the word embeddings to `info.vocab_size` rows and sets those of the new tokens."""
    old_VD = word_embeddings(model).weight.detach()
    rows = new_rows(old_VD, len(info.new_token_ids), info.seed)
    if info.vocab_size > len(old_VD):
        model.resize_token_embeddings(info.vocab_size, mean_resizing=False)
    with torch.no_grad():
        word_embeddings(model).weight[info.new_token_ids] = rows


def _locate(source: str) -> tuple[str, str, str | None, Path]:
    """Kind, source, revision and local folder of an encoder that this package doesn't make itself."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        _check_undamaged(folder)
        if not hub.has_any(folder, hub.WEIGHTS):
            raise UserError(f"there is no model in {folder} ({' or '.join(hub.WEIGHTS)}): {hub.CHOICES}")
        folder = folder.resolve()
        return "folder", str(folder), None, folder
    folder = hub.fetch(source, hub.SMALL_FILES)
    return "hub", source, folder.name, folder


def usable_positions(model: PreTrainedModel) -> int:
    """The longest sequence that an encoder takes, in tokens; one of RoBERTa's kind leaves its first positions out."""
    most = model.config.max_position_embeddings
    for name, module in model.named_modules():
        if name.split(".")[-1] == "position_embeddings" and getattr(module, "padding_idx", None) is not None:
            return most - module.padding_idx - 1
    return most


def _read(folder: Path, source: str) -> tuple[PreTrainedTokenizerFast, PretrainedConfig, int]:
    """Tokenizer, configuration and usable positions of a foreign folder.

    UserError if they are not of a BERT-like encoder, or of one whose word embeddings the Switcher can't start from.
    """
    if not hub.has_any(folder, hub.VOCABULARIES):  # transformers would make an empty tokenizer
        raise UserError(f"encoder {source!r} has no tokenizer ({', '.join(hub.VOCABULARIES)}): {hub.CHOICES}")
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # tokenizers and transformers raise nearly anything on files they can't use
            raise UserError(f"encoder {source!r} can't be read ({first_line(error)}): {hub.CHOICES}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"encoder {source!r} has no fast tokenizer, so no character offsets: {hub.CHOICES}")
    needed = ("hidden_size", "vocab_size", "max_position_embeddings")
    if config.is_encoder_decoder or not all(isinstance(getattr(config, name, None), int) for name in needed):
        raise UserError(f"{source!r} is a {config.model_type} model, not a BERT-like encoder: {hub.CHOICES}")
    if max(tokenizer.get_vocab().values()) >= config.vocab_size:
        raise UserError(
            f"encoder {source!r} has fewer embeddings than tokens, its files don't belong together: {hub.CHOICES}"
        )
    with _quiet(), torch.device("meta"):  # all shapes, no memory
        try:
            model = AutoModel.from_config(config, trust_remote_code=False)
            width, positions = model.get_input_embeddings().embedding_dim, usable_positions(model)
        except Exception as error:  # as above
            raise UserError(f"encoder {source!r} can't be made ({first_line(error)}): {hub.CHOICES}") from error
    if width != config.hidden_size:
        raise UserError(
            f"encoder {source!r} has word embeddings of {width} numbers and an output of {config.hidden_size}, like "
            f"ALBERT and RemBERT, but the two must be equally wide: {hub.CHOICES}"
        )
    return wrap(tokenizer.backend_tokenizer, roles_of(tokenizer), tokenizer.model_max_length), config, positions


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its warnings and bars: what they would say is checked here."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
