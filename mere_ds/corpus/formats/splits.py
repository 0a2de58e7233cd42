"""What names say of train, dev and test."""

import re

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "develop", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
_WORD = re.compile(r"[a-z]+")


def splits_in(name: str) -> set[str]:
    """The splits that words of a name stand for."""
    return {_SPLITS[word] for word in _WORD.findall(name.lower()) if word in _SPLITS}
