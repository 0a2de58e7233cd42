"""An encoder's weights: finding and checking their files, and loading the model from them."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mere_ds.encoders import hub
from mere_ds.encoders.families import auto_class
from mere_ds.encoders.info import EncoderInfo
from mere_ds.encoders.tokenizer_files import TOKENIZER_FILES
from mere_ds.encoders.tokens import load_tokenizer
from mere_ds.encoders.weights import new_rows, own_memory, word_embeddings
from mere_ds.errors import UserError, first_line, from_memory_error
from mere_ds.files import expanded
from mere_ds.sums import SUMS, damage

_ADVICE = (
    "pass a folder with config.json and model.safetensors, or a model on the hub; for MTMB, run `mere-ds "
    "pretrain-mtmb` and pass its folder"
)

log = logging.getLogger("mere_ds")


def load_encoder(
    folder: Path, info: EncoderInfo, dtype: torch.dtype = torch.float32, weights: Path | None = None
) -> PreTrainedModel:
    """The encoder that `build_encoder` described, from `folder` or from its source, embeddings of new tokens included.

    A missing pooler and the new tokens' embeddings are initialised from `info.seed`, always to the same values.
    `weights` is a folder (see `locate_weights`) with other weights to use; embeddings of language symbols are taken
    from them only if their tokenizer has the symbols. Attention is PyTorch's scaled_dot_product_attention if the
    architecture supports it. UserError if the weights can't be found, lack more than a pooler, or differ in
    architecture, width or vocabulary.
    """
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(info.seed)
        if weights is not None:
            return _load_others(folder, info, dtype, weights)
        model = _load(_own_weights(folder, info), dtype)
        if not info.weights_in_folder:
            _add_rows(model, info)
    return model


def encoder_shapes(folder: Path, info: EncoderInfo) -> PreTrainedModel:
    """The encoder that `load_encoder` would load, on the device "meta": all shapes, neither weights nor memory."""
    with quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = auto_class(config).from_config(config, trust_remote_code=False)
        if info.vocab_size != word_embeddings(model).num_embeddings:
            model.resize_token_embeddings(info.vocab_size, mean_resizing=False)
    return model


def locate_weights(source: str) -> Path:
    """The local folder of the weights that training starts from: `source` itself or a hub model's files.

    A folder must contain safetensors. UserError if there are none or they are damaged.
    """
    folder = expanded(source)
    if not folder.is_dir():
        return hub.fetch_weights(source, None, _ADVICE)
    check_undamaged(folder)
    if not (folder / "config.json").is_file() or not hub.has_any(folder, hub.WEIGHTS[:1]):
        raise UserError(f"{folder} has no config.json or no {hub.WEIGHTS[0]}: {_ADVICE}")
    return folder.resolve()


def encoder_damage(folder: Path) -> str | None:
    """What is wrong with the files of an encoder folder with `SHA256SUMS`; None if all are as they were written."""
    return damage(folder, last=TOKENIZER_FILES[-1])


def check_undamaged(folder: Path) -> None:
    """Raises UserError for an encoder folder whose files don't match its `SHA256SUMS`."""
    if os.path.lexists(folder / SUMS) and (what := encoder_damage(folder)):
        raise UserError(
            f"the encoder in {folder} is damaged ({what}): copy or create it again, or, if the change is intended, "
            f"remove its {SUMS}"
        )


def weights_digest(folder: Path) -> str:
    """sha256 (hex) of config.json and the weights in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in ("config.json", *hub.WEIGHTS) for path in folder.glob(pattern)):
        digest.update(f"{path.name} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _own_weights(folder: Path, info: EncoderInfo) -> Path:
    """The folder of the weights that belong to the encoder in `folder`."""
    if info.weights_in_folder:
        path = Path(folder)
    elif info.kind == "hub":
        path = hub.fetch_weights(info.source, info.revision)
    else:
        path = Path(info.source)
    if not hub.has_any(path, hub.WEIGHTS):
        raise UserError(f"there are no weights in {path}: copy the encoder's {' or '.join(hub.WEIGHTS)} there")
    if info.weights_sha256 not in (None, weights_digest(path)):
        raise UserError(
            f"the encoder in {path} has changed since the shards were made (config.json or weights have a different "
            "sha256): restore it, or run mere-ds shard again"
        )
    return path


def _load(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in a folder; UserError if it can't be loaded or anything but a pooler is missing."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        model, report = auto_class(config).from_pretrained(
            path, dtype=dtype, trust_remote_code=False, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # of many types: a damaged file, other shapes, an unknown architecture
        if from_memory_error(error):
            raise
        raise UserError(
            f"the encoder in {path} can't be loaded ({first_line(error)}): copy or download it again, or choose another"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UserError(
            f"the weights in {path} lack {len(missing)} tensors, such as {missing[0]}: copy or download them again"
        )
    own_memory(model)
    return model


def _load_others(folder: Path, info: EncoderInfo, dtype: torch.dtype, weights: Path) -> PreTrainedModel:
    """The encoder with `weights` and word embeddings in the order of the tokenizer in `folder`."""
    model = _load(weights, dtype)
    wanted = AutoConfig.from_pretrained(folder, local_files_only=True)
    for name in ("model_type", "hidden_size", "max_position_embeddings"):
        ours, theirs = getattr(wanted, name, None), getattr(model.config, name, None)
        if ours != theirs:
            raise UserError(
                f"{weights} has {name} = {theirs}, but the shards' encoder {info.source} has {ours}: pass weights of "
                "that encoder, or run mere-ds shard with this one"
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
    """{row: row in `weights`} of the new tokens that both have; UserError unless the first `words` tokens are equal."""
    mismatch = UserError(
        f"the weights in {weights} don't have the vocabulary of the shards' encoder {info.source}: pass weights of "
        "that encoder, or run mere-ds shard with this one"
    )
    if not hub.has_any(weights, hub.VOCABULARIES):  # then only the number of rows can be compared
        if os.path.lexists(weights / TOKENIZER_FILES[-1]):
            raise UserError(
                f"{weights} has a {TOKENIZER_FILES[-1]} but no tokenizer ({', '.join(hub.VOCABULARIES)}): copy it again"
            )
        if rows not in (words, info.vocab_size):
            raise mismatch
        if rows > words:
            log.warning(
                "%s has no tokenizer: its %d rows beyond the vocabulary are not used, and the language symbols are "
                "initialised from the shards' encoder",
                weights,
                rows - words,
            )
        return {}
    try:
        theirs = AutoTokenizer.from_pretrained(weights, trust_remote_code=False, local_files_only=True).get_vocab()
    except Exception as error:  # of many types, as above
        raise UserError(
            f"the tokenizer in {weights} can't be read ({first_line(error)}): copy or download it again"
        ) from error
    ours = load_tokenizer(folder).get_vocab()
    if rows < words or any(theirs.get(token) != row for token, row in ours.items() if row < words):
        raise mismatch
    new = set(info.new_token_ids)
    return {row: theirs[token] for token, row in ours.items() if row in new and theirs.get(token, rows) < rows}


def _add_rows(model: PreTrainedModel, info: EncoderInfo) -> None:
    """Extends the word embeddings to `info.vocab_size` rows and initialises those of the new tokens."""
    old_VD = word_embeddings(model).weight.detach()
    rows = new_rows(old_VD, len(info.new_token_ids), info.seed)
    if info.vocab_size > len(old_VD):
        model.resize_token_embeddings(info.vocab_size, mean_resizing=False)
    with torch.no_grad():
        word_embeddings(model).weight[info.new_token_ids] = rows


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' warnings and progress bars; the problems they report are checked here."""
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
