"""The tokenizer of a folder, read by the library tokenizers alone: using a model needs no transformers and no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from mere_ds.errors import UserError, first_line
from mere_ds.files import digest_of, read_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

NEEDED_ROLES = ("cls_token", "sep_token", "pad_token")
ROLES = (*NEEDED_ROLES, "unk_token", "mask_token", "bos_token", "eos_token")

_ADVICE = "copy the folder again, or create it again with mere-ds shard"


def language_symbol(language: str) -> str:
    """The special token that is put before a sentence of `language`: `de` -> `[de]`."""
    return f"[{language}]"


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer with what frames a sentence; its properties are named as those of transformers' tokenizers."""

    backend_tokenizer: Tokenizer
    """In which special tokens that a text spells out are plain text."""
    roles: dict[str, str]
    """Such as "cls_token" -> "[CLS]"; all `NEEDED_ROLES` among them."""
    model_max_length: int
    """The longest sequence in tokens."""

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def all_special_ids(self) -> list[int]:
        """Those of its roles, without language symbols."""
        return sorted({self._number(role) for role in self.roles})

    @property
    def cls_token_id(self) -> int:
        return self._number("cls_token")

    @property
    def sep_token_id(self) -> int:
        return self._number("sep_token")

    @property
    def pad_token_id(self) -> int:
        return self._number("pad_token")

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.backend_tokenizer, self.roles)

    def _number(self, role: str) -> int:
        number = self.backend_tokenizer.token_to_id(self.roles[role])
        assert number is not None, "`read_tokenizer` checks it"
        return number


def read_tokenizer(folder: str | Path) -> FolderTokenizer:
    """The tokenizer of a folder that `build_encoder` wrote; "[SEP]" or "[de]" in a text is plain text, and offsets fit.

    UserError if its files are missing, damaged or lack a setting. Never uses the network.
    """
    folder = Path(folder)
    settings = read_json(folder / "tokenizer_config.json", _ADVICE)
    try:
        backend = Tokenizer.from_buffer((folder / "tokenizer.json").read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no {Path(error.filename).name}: {_ADVICE}") from error
    except Exception as error:  # tokenizers raises bare Exception for a file that it can't parse
        raise UserError(f"the tokenizer in {folder} can't be read ({first_line(error)}): {_ADVICE}") from error
    roles = {role: settings[role] for role in ROLES if settings.get(role)}
    unknown = [role for role, token in roles.items() if type(token) is not str or backend.token_to_id(token) is None]
    lacking = [*(role for role in NEEDED_ROLES if role not in roles), *unknown]
    longest = settings.get("model_max_length", 0)
    if type(longest) is not int or longest < 1:
        lacking.append("model_max_length")
    if lacking:
        names = ", ".join(lacking)
        raise UserError(f"{folder / 'tokenizer_config.json'} has no valid {names}: {_ADVICE}")
    backend.encode_special_tokens = True  # its JSON doesn't say so
    backend.no_truncation()
    backend.no_padding()
    return FolderTokenizer(backend, roles, longest)


def fingerprint_of(backend: Tokenizer, roles: dict[str, str]) -> str:
    """sha256 (hex) of everything that affects a text's token ids, but not of file layout, truncation or padding."""
    state = json.loads(backend.to_str())
    for passing in ("truncation", "padding", "version"):
        state.pop(passing, None)
    state["roles"] = roles
    canonical = json.dumps(state, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return digest_of(canonical.encode("ascii"))
