"""Loads a model for use alone. Most models need no transformers for this, whose import takes seconds."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from mere_ds.config import Precision
from mere_ds.errors import UserError
from mere_ds.files import read_json
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.entity_heads import EntityHeads
from mere_ds.model.fields import MereFields
from mere_ds.model.parts import MereParts, Predicted
from mere_ds.model.plain_bert import BertShape, PlainBert, renamed
from mere_ds.model.precision import DTYPES, best_precision, check_available, nonfinite
from mere_ds.model.rows import Rows, chunks
from mere_ds.model.workers import each
from mere_ds.sums import check_for_use

WEIGHTS = "model.safetensors"
_OF_ENCODER = "encoder.model."


class UsedMere(MereParts):
    """mERE around BERT or its kin, without dropout, losses and stages: it only finds triples."""

    finds_entities = True
    dtype: torch.dtype
    """Of the weights; packed ones don't tell."""

    def __init__(self, config: MereFields, shape: BertShape):
        super().__init__()
        self.config = config
        bert: Any = PlainBert(shape, has_pooler=config.pooler == "encoder")
        self.encoder = CrossLingualEncoder(bert, config.pooler)
        self._add_parts()

    def take(self, weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
        """Use these weights, named as in a file of `MereModel`, in this precision. Raises KeyError and RuntimeError if
        they don't fit."""
        inner = {name.removeprefix(_OF_ENCODER): w for name, w in weights.items() if name.startswith(_OF_ENCODER)}
        ours = {name: w for name, w in weights.items() if not name.startswith(_OF_ENCODER)}
        ours |= {f"{_OF_ENCODER}{name}": weight for name, weight in renamed(inner).items()}
        # copied: see `encoders.weights.own_memory`
        self.load_state_dict({name: weight.to(dtype, copy=True) for name, weight in ours.items()}, assign=True)
        self.dtype = dtype
        mask_NU = torch.tensor(self.config.label_mask, dtype=torch.bool)
        self.register_buffer("label_mask_NU", mask_NU, persistent=False)
        self.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.label_mask_NU.device

    @property
    def by_rows(self) -> bool:
        """Whether it computes the tokens of sentences without padding: on a CPU."""
        return self.device.type == "cpu"

    def forward(
        self,
        token_ids_BM: torch.Tensor,
        mask_BM: torch.Tensor,
        languages_B: torch.Tensor,
        k: int | None = None,
        features: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Predicted:
        """As `MereModel.forward` without gold values."""
        if features is None and self.by_rows:
            return self._by_rows(token_ids_BM, mask_BM, languages_B, self.config.top_k if k is None else k)
        h_BMD, pooled_BD = self.unify(token_ids_BM, mask_BM) if features is None else features
        if self.config.stage == 2:
            h_BMD = self.switcher(h_BMD, languages_B, self.config.top_k if k is None else k)
        return self._find(h_BMD, mask_BM, languages_B, self.relations(pooled_BD))

    def _by_rows(
        self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, languages_B: torch.Tensor, k: int
    ) -> Predicted:
        """The same, of sentences of like length together, and only of their tokens."""
        lengths_B = mask_BM.sum(dim=1)
        order_B = lengths_B.argsort(stable=True)
        lengths_B = lengths_B[order_B]
        # a product of fp32 may use all threads, whoever calls it
        workers = torch.get_num_threads() if self.dtype == torch.bfloat16 else 1

        def found_in(chunk: slice) -> Predicted:
            its_B, width = order_B[chunk], int(lengths_B[chunk.stop - 1])
            found = self._chunk(token_ids_BM[its_B, :width], mask_BM[its_B, :width], languages_B[its_B], k)
            return found._replace(sentence_F=its_B[found.sentence_F])

        parts = each(found_in, chunks(lengths_B.tolist(), workers), workers)
        whole = Predicted(*map(torch.cat, zip(*parts, strict=True)))
        order_F = whole.sentence_F.argsort(stable=True)
        return Predicted(*(column[order_F] for column in whole))

    def _chunk(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, languages_B: torch.Tensor, k: int) -> Predicted:
        rows = Rows(mask_BM.sum(dim=1).numpy(), self.dtype)
        h_RD, pooled_BD = self.encoder.of_rows(rows.of(token_ids_BM), rows, mask_BM)
        if self.aggregator is not None:
            h_RD = self.aggregator.of_rows(h_RD, rows)
        if self.config.stage == 2:
            h_RD = self.switcher.of_rows(h_RD, languages_B, rows.sentence_R, k)
        relation_BU = self.relations(pooled_BD)[: len(mask_BM)]
        computed = (rows.padded(self.heads.token_half(h_RD)),) if isinstance(self.heads, EntityHeads) else ()
        return self._find(rows.padded(h_RD), mask_BM, languages_B, relation_BU, *computed)


def load_for_use(folder: str | Path, precision: Precision = "auto") -> Any:
    """A saved model that can predict as `TripleModel.forward` without gold values, on the GPU if there is one.

    Everything is checked, and raises UserError, as in `load_model`, which loads what `UsedMere` can't be; also for a
    precision that the device lacks.
    """
    device = _device()
    chosen = best_here() if precision == "auto" else precision
    check_available(chosen, device)
    return load_in_memory(Path(folder), DTYPES[chosen]).to(device)


def best_here() -> Precision:
    """What the precision `auto` is on this machine."""
    return best_precision(_device())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_in_memory(folder: Path, dtype: torch.dtype) -> Any:
    """`load_for_use` without a device, for models that may share parts before they compute."""
    model = _light(folder, dtype)
    if model is not None:
        check_for_use(folder)  # last, since its digests are made while the weights are read
    if model is None or nonfinite(model.state_dict()):
        from mere_ds.model.loading import load_model  # loads transformers; says what is wrong, if anything is

        return load_model(folder).eval().to(dtype)
    return model


def _light(folder: Path, dtype: torch.dtype) -> UsedMere | None:
    """The model in a folder; None if it is of another kind or anything is wrong."""
    try:
        saved = read_json(folder / "config.json", "pass a folder saved by mere-ds")
        known = {field.name: saved[field.name] for field in fields(MereFields) if field.name in saved}
        config = MereFields(**known)
        config.check()
        shape = BertShape.of(config.encoder_config)
        if saved.get("model_type") != "mere" or shape is None or config.pooler == "auto":
            return None
        if config.max_length > shape.usable_positions or max(config.language_token_ids) >= shape.vocab_size:
            return None
        with torch.device("meta"), _Uninitialised():  # the weights come from the file
            model = UsedMere(config, shape)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            model.take({name: file.get_tensor(name) for name in file.keys()}, dtype)  # noqa: SIM118 (it isn't a dict)
    except (UserError, OSError, SafetensorError, KeyError, RuntimeError):
        return None
    return model.eval()


class _Uninitialised(TorchFunctionMode):
    """Leaves out the initialisation of new weights: for those without memory torch would import its compiler, which
    takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
