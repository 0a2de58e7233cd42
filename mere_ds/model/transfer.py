"""What a new model takes over from a trained one that may have other tokens, languages, labels or parts.

Rows of tokens and labels are matched by name, everything else by the parameter's name and shape.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mere_ds.encoders.weights import word_embeddings
from mere_ds.errors import UserError
from mere_ds.model.triple import TripleModel

OF_LABELS = ("relation.weight", "heads.relations.weight", "heads.factors.weight")
"""Parameters with a row per relation label."""
_ENCODER, _POOLER = "encoder.model.", "encoder.model.pooler."
_SAME = (
    *("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "hidden_act"),
)
"""Settings of an encoder without which its weights mean something else."""

Rows = tuple[torch.Tensor, torch.Tensor]
"""Numbers of rows in the new tensor and of the rows in the old one that go there."""


@dataclass(frozen=True)
class Matched:
    """How the names of one kind in the new model match those in the old one."""

    taken: list[str]
    new: list[str]
    """What the old model lacks, or has in another shape."""
    left: list[str]
    """What the old model alone has."""

    @classmethod
    def of(cls, here: Iterable[str], there: Iterable[str], taken: Iterable[str] | None = None) -> "Matched":
        """Of the names `here` in the new model and `there` in the old one, all that are in both, or `taken`."""
        ours, theirs = dict.fromkeys(here), dict.fromkeys(there)
        both = dict.fromkeys(name for name in ours if name in theirs) if taken is None else dict.fromkeys(taken)
        return cls(list(both), [x for x in ours if x not in both], [x for x in theirs if x not in both])


@dataclass(frozen=True)
class Transfer:
    """What was taken over."""

    tokens: Matched
    languages: Matched
    labels: Matched
    weights: Matched
    """Names of parameters. Those with a row per token or label are taken if a row is."""


@torch.no_grad()
def take_over(new: TripleModel, old: TripleModel, tokens: Mapping[str, int], old_tokens: Mapping[str, int]) -> Transfer:
    """Copy into `new` all of `old` that fits; the rest of `new` stays as it is.

    `tokens` and `old_tokens` are the tokenizers' vocabularies, language symbols included: token -> row of the word
    embeddings. Raises UserError, before anything is copied, if the two encoders are not of the same kind and sizes.
    """
    ours, theirs = new.state_dict(keep_vars=True), old.state_dict(keep_vars=True)
    by_token = _names_of_words(new, ours)
    _check_encoders(new, old, ours, theirs, by_token)
    of_tokens = {token: row for token, row in tokens.items() if row < len(word_embeddings(new.encoder.model).weight)}
    of_old = {token: row for token, row in old_tokens.items() if row < len(word_embeddings(old.encoder.model).weight)}
    token_rows = _rows(of_tokens, of_old)
    label_rows = _rows(_numbered(new.config.labels), _numbered(old.config.labels))
    other_heads = getattr(new.config, "entity_heads", None) != getattr(old.config, "entity_heads", None)
    taken = []
    for name, tensor in ours.items():
        rows = token_rows if name in by_token else label_rows if name in OF_LABELS else None
        meant_otherwise = other_heads and name.startswith("heads.")
        if name in theirs and not meant_otherwise and _copy(tensor, theirs[name], rows):
            taken.append(name)
    return Transfer(
        tokens=Matched.of(of_tokens, of_old),
        languages=Matched.of(new.config.languages, old.config.languages),
        labels=Matched.of(new.config.labels, old.config.labels),
        weights=Matched.of(ours, theirs, taken),
    )


def _copy(ours: torch.Tensor, theirs: torch.Tensor, rows: Rows | None) -> bool:
    """Copy all of a tensor or these rows; returns whether it fits and there is something to copy."""
    if rows is None:
        fits = ours.shape == theirs.shape
        if fits:
            ours.copy_(theirs)
        return fits
    to, of = rows
    fits = ours.shape[1:] == theirs.shape[1:] and len(to) > 0
    if fits:
        ours[to] = theirs[of].to(ours.dtype)
    return fits


def _check_encoders(
    new: TripleModel,
    old: TripleModel,
    ours: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    by_token: Sequence[str],
) -> None:
    """Raises UserError if the encoders differ in more than their vocabulary and pooler."""
    here, there = new.encoder.model.config, old.encoder.model.config
    for name in _SAME:
        if getattr(here, name, None) != getattr(there, name, None):
            raise UserError(_other_encoder(name, getattr(there, name, None), getattr(here, name, None)))
    for name in dict.fromkeys([*ours, *theirs]):
        if name.startswith(_ENCODER) and not name.startswith(_POOLER):
            whole = slice(1, None) if name in by_token else slice(None)
            shapes = [tuple(x[name].shape)[whole] if name in x else "unknown" for x in (theirs, ours)]
            if shapes[0] != shapes[1]:
                raise UserError(_other_encoder(f"the shape of {name.removeprefix(_ENCODER)}", *shapes))


def _other_encoder(what: str, there: object, here: object) -> str:
    return (
        f"its encoder is another one than the shards' ({what} is {there}, but {here} in the shards'): make shards with "
        "that encoder, or start from a run of the shards' encoder"
    )


def _names_of_words(model: TripleModel, state: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of the word embeddings; several if weights are tied."""
    return [name for name, tensor in state.items() if tensor is word_embeddings(model.encoder.model).weight]


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _rows(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Rows:
    both = [name for name in ours if name in theirs]
    return torch.tensor([ours[x] for x in both]).long(), torch.tensor([theirs[x] for x in both]).long()
