"""Tokenizers with one symbol per language, in which special tokens written in a text are plain text."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mere_ds.encoders.tokenizer_files import NEEDED_ROLES, ROLES, fingerprint_of, language_symbol, read_tokenizer
from mere_ds.errors import UserError

STAND_INS = {"cls_token": "bos_token", "sep_token": "eos_token"}
"""What takes the place of a token that a tokenizer lacks."""
NEW_CLS = "[CLS]"


def wrap(backend: Tokenizer, roles: dict[str, str], max_length: int) -> PreTrainedTokenizerFast:
    """A transformers tokenizer around `backend` in which special tokens that a text spells out are plain text.

    `roles` maps names such as "cls_token" to tokens. The backend's own truncation and padding are switched off.
    """
    backend.no_truncation()
    backend.no_padding()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        **roles,
    )


def roles_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The tokenizer's special tokens by role, without missing ones."""
    return {role: str(token) for role in ROLES if (token := getattr(tokenizer, role, None))}


def adopt(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """A foreign tokenizer wrapped, with tokens for a sentence's start and end, and the ids of those that it lacked.

    Without a cls_token or sep_token the bos_token or eos_token is used; without any for the start (T5) a new token.
    """
    roles = roles_of(tokenizer)
    for role, other in STAND_INS.items():
        if other in roles:
            roles.setdefault(role, roles[other])
    if "sep_token" in roles:
        roles.setdefault("cls_token", NEW_CLS)
    backend = _with_own_unknown(tokenizer.backend_tokenizer, roles.get("unk_token"))
    known = set(backend.get_vocab(with_added_tokens=True).values())
    wrapped = wrap(backend, roles, tokenizer.model_max_length)  # adds the tokens of its roles
    return wrapped, sorted(set(wrapped.get_vocab().values()) - known)


def _with_own_unknown(backend: Tokenizer, unknown: str | None) -> Tokenizer:
    """The tokenizer with `unknown` for what its vocabulary lacks; RemBERT's of transformers names another token."""
    number = None if unknown is None else backend.token_to_id(unknown)
    if number is None or not isinstance(backend.model, models.Unigram):
        return backend
    state = json.loads(backend.to_str())
    if state["model"]["unk_id"] == number:
        return backend
    state["model"]["unk_id"] = number
    return Tokenizer.from_str(json.dumps(state))


def add_languages(tokenizer: PreTrainedTokenizerFast, languages: list[str]) -> list[int]:
    """Adds one special token `[xx]` per language, in place; returns the ids that the tokenizer did not have before.

    An existing symbol keeps its id. UserError if the tokenizer has no token for the start or end of a sentence or for
    padding, if a language code can't be a symbol, or if a special token in a text would still be recognised.
    """
    roles = roles_of(tokenizer)
    missing = [role for role in NEEDED_ROLES if role not in roles]
    if missing:
        raise UserError(f"this encoder's tokenizer has no {' and no '.join(missing)}: choose a BERT-like encoder")
    symbols = [language_symbol(language) for language in languages]
    for language, symbol in zip(languages, symbols, strict=True):
        if not re.fullmatch(r"[\w.-]+", language) or symbol in roles.values():
            raise UserError(
                f"language code {language!r} can't be used as a token: use letters and digits, such as 'de'"
            )
    backend = tokenizer.backend_tokenizer
    known = set(backend.get_vocab(with_added_tokens=True).values())
    backend.add_special_tokens([AddedToken(symbol, special=True, normalized=False) for symbol in symbols])
    _shield(backend, unknown=roles.get("unk_token"))
    numbers = backend.get_vocab(with_added_tokens=True)
    return sorted({numbers[symbol] for symbol in symbols} - known)


def _shield(backend: Tokenizer, unknown: str | None) -> None:
    """Makes sure that a special token written in a text is split into ordinary pieces.

    A unigram model looks up special tokens like any other piece, with the best score of all, even if
    `encode_special_tokens` is set. Splitting such a text after its first character, before the model sees it, doesn't
    change the pieces of any other text.
    """
    special = {token.content: i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    harmful = {i for token, i in special.items() if token != unknown}

    def spelt(token: str) -> bool:
        return bool(harmful.intersection(backend.encode(token, add_special_tokens=False).ids))

    backend.encode_special_tokens = True
    pieces = sorted(token for token in special if len(token) > 1 and backend.model.token_to_id(token) is not None)
    if any(map(spelt, pieces)) and isinstance(backend.model, models.Unigram):
        cut = Regex("|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in pieces))
        steps = [backend.pre_tokenizer] if backend.pre_tokenizer else []
        steps.append(pre_tokenizers.Split(cut, "merged_with_previous"))
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    for token in special:
        if spelt(token):
            raise UserError(
                f"this encoder's tokenizer reads {token!r} in a text as a special token: choose another encoder"
            )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes `TOKENIZER_FILES`, which `load_tokenizer` and transformers read."""
    tokenizer.save_pretrained(str(folder))


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """`read_tokenizer` as a tokenizer of transformers. Raises UserError as it."""
    read = read_tokenizer(folder)
    return wrap(read.backend_tokenizer, read.roles, read.model_max_length)


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """`fingerprint_of` a tokenizer of transformers."""
    return fingerprint_of(tokenizer.backend_tokenizer, roles_of(tokenizer))


def batches(texts: Iterable[str], size: int) -> Iterable[list[str]]:
    """`texts` in lists of `size`; the last one may be shorter."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
