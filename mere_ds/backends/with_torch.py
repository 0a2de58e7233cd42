"""A trained model computed by torch: on the GPU if there is one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mere_ds.backends.stated import ModelFacts, Prediction
from mere_ds.config import Precision
from mere_ds.errors import UserError
from mere_ds.model.packing import pack
from mere_ds.model.use import UsedMere, load_for_use
from mere_ds.runs.trained import check_k


class TorchBackend:
    """Computes with a model as it is: on its device, in its dtype."""

    def __init__(self, model: Any):
        c = model.config
        self.model = model
        finds_many = getattr(c, "triples", "one") == "many"
        self.facts = ModelFacts(tuple(c.languages), tuple(c.labels), c.max_length, finds_many)
        self.packs = isinstance(model, UsedMere) and model.by_rows

    @classmethod
    def load(
        cls,
        folder: str | Path,
        k: int | None = None,
        threads: int | None = None,
        precision: Precision = "auto",
    ) -> "TorchBackend":
        """From a saved model's folder; `k` overrides its top-k, `threads` is how many torch uses on a CPU, in the whole
        process (None: as it is), `precision` the number format of the computation (auto: `best_precision`). Raises
        UserError as `load_for_use`, if the model finds no entities yet, and if it can't run with `k`."""
        model = load_for_use(folder, precision)
        if not model.finds_entities:
            raise UserError(f"{folder}: this model only classifies relations: train its stage two first (--stage=2)")
        if k is not None:
            check_k(k, vars(model.config))
            model.config.top_k = k
        if threads is not None:
            torch.set_num_threads(threads)
        if isinstance(model, UsedMere):
            pack(model)
        return cls(model)

    @torch.no_grad()
    def predict(self, token_ids_BM: np.ndarray, mask_BM: np.ndarray, languages_B: np.ndarray) -> Prediction:
        """As `Backend.predict`."""
        arrays = (torch.from_numpy(x).to(self.model.device) for x in (token_ids_BM, mask_BM, languages_B))
        output = self.model(*arrays)
        return Prediction(*(getattr(output, name).cpu().numpy() for name in Prediction._fields))
