"""An exported model computed by onnxruntime, on the CPU; needs no torch. `onnx_files` says what its graphs give.

Shape suffixes: as in `decoding`, D hidden size.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mere_ds.backends import decoding
from mere_ds.backends.onnx_files import INPUTS, MODEL, PAIR_INPUTS, PAIRS, PRECISION, VERSION
from mere_ds.backends.stated import ModelFacts, Prediction
from mere_ds.config import Precision
from mere_ds.errors import UserError, first_line, from_memory_error
from mere_ds.files import read_json
from mere_ds.model.limits import MOST_RELATIONS, pairs_at_once
from mere_ds.optional_libraries import needed
from mere_ds.runs.trained import check_k
from mere_ds.sums import check_for_use

ADVICE = "copy the folder again, or export the model again"
TOKENS_AT_ONCE = 2048
"""Padding included. More at once is not faster, and onnxruntime keeps the memory that it once needed."""

FIELDS: dict[str, Any] = {
    **{"languages": list, "labels": list, "max_length": int, "top_k": int, "ordered_spans": bool},
    **{"overlapping_spans": bool},
}
"""What config.json must say, and the types."""
OF_MANY: dict[str, Any] = {"least_score": (int, float), "most_triples": int}


class OnnxBackend:
    """Computes with the graphs of an exported folder."""

    packs = False

    def __init__(self, config: dict, model: Any, pairs: Any | None) -> None:
        """`config` is the folder's config.json, `model` and `pairs` are onnxruntime's sessions of the graphs."""
        self.config = config
        self.facts = ModelFacts(
            tuple(config["languages"]), tuple(config["labels"]), config["max_length"], pairs is not None
        )
        self._model, self._pairs = model, pairs

    @classmethod
    def load(
        cls, folder: str | Path, k: int | None = None, threads: int | None = None, precision: Precision = "auto"
    ) -> "OnnxBackend":
        """From an exported folder, whose digests are checked. `threads` is how many compute (None: one a core).

        Raises UserError for damaged files, for another `k` or precision than the exported ones, and if onnxruntime is
        not installed.
        """
        check_for_use(Path(folder))
        backend = cls.of_graphs(folder, threads)
        if k is not None:
            check_k(k, backend.config)
            if k != backend.config["top_k"]:
                raise UserError(
                    f"--k={k}: {folder} was exported with k = {backend.config['top_k']}: remove --k, or use the run"
                )
        if precision not in ("auto", backend.precision):
            raise UserError(
                f"--precision={precision}: {folder} was exported in {backend.precision}: remove --precision, or use "
                "the run"
            )
        return backend

    @classmethod
    def of_graphs(cls, folder: str | Path, threads: int | None = None) -> "OnnxBackend":
        """As `load` for files that are known to be whole."""
        folder = Path(folder)
        config = read_json(folder / "config.json", ADVICE)
        many = config.get("triples") == "many"
        wanted = {**FIELDS, **(OF_MANY if many else {})}
        lacking = [name for name, kind in wanted.items() if not isinstance(config.get(name), kind)]
        if lacking:
            raise UserError(f"{folder / 'config.json'}: has no valid {', '.join(lacking)}: {ADVICE}")
        pairs = session(folder / PAIRS, threads) if many else None
        return cls(config, session(folder / MODEL, threads), pairs)

    @property
    def precision(self) -> str:
        """Of the products: fp32, or int8."""
        return self._model.get_modelmeta().custom_metadata_map.get(PRECISION, "fp32")

    def predict(self, token_ids_BM: np.ndarray, mask_BM: np.ndarray, languages_B: np.ndarray) -> Prediction:
        """As `Backend.predict`, `TOKENS_AT_ONCE` at a time."""
        B, M = mask_BM.shape
        parts, at_once = [], max(1, TOKENS_AT_ONCE // M)
        for start in range(0, B, at_once):
            rows = slice(start, start + at_once)
            width = mask_BM[rows].sum(axis=1).max()
            found = self._predict(token_ids_BM[rows, :width], mask_BM[rows, :width], languages_B[rows])
            parts.append(found._replace(sentence_F=found.sentence_F + start))
        return Prediction(*map(np.concatenate, zip(*parts, strict=True)))

    def _predict(self, token_ids_BM: np.ndarray, mask_BM: np.ndarray, languages_B: np.ndarray) -> Prediction:
        outputs = self._model.run(None, dict(zip(INPUTS, (token_ids_BM, mask_BM, languages_B), strict=True)))
        given = dict(zip((output.name for output in self._model.get_outputs()), outputs, strict=True))
        found = self._many(mask_BM, given) if self._pairs else self._one(given)
        cuts_F4 = np.zeros_like(found.positions_F4)
        if "cuts_BM4" in given and len(cuts_F4):
            places_F4 = found.positions_F4.clip(min=0)
            cuts_F4 = given["cuts_BM4"][found.sentence_F[:, None], places_F4, np.arange(4)]
            cuts_F4[found.positions_F4 < 0] = 0
        return found._replace(cuts_F4=cuts_F4)

    def _one(self, given: dict[str, np.ndarray]) -> Prediction:
        c = self.config
        positions_B4, entities_B = decoding.best_spans(given["logits_BM4"], c["ordered_spans"], c["overlapping_spans"])
        sentence_B, score_B = np.arange(len(positions_B4)), given["probability_B"] * entities_B
        return Prediction(sentence_B, given["relation_B"], positions_B4, positions_B4, score_B)

    def _many(self, mask_BM: np.ndarray, given: dict[str, np.ndarray]) -> Prediction:
        least, most = self.config["least_score"], self.config["most_triples"]
        states_BMD = given["states_BMD"]
        _, M, D = states_BMD.shape
        sentence_P, labels_P, probability_P = decoding.likely_relations(given["probability_BU"], least, MOST_RELATIONS)
        parts = [(np.empty(0, np.int64), np.empty((0, 4), np.int64), np.empty(0, np.float32))]
        at_once = pairs_at_once(M, D)
        for start in range(0, len(labels_P), at_once):
            of = slice(start, start + at_once)
            rows = slice(sentence_P[of][0], sentence_P[of][-1] + 1)  # no more than these pairs are of
            arrays = (states_BMD[rows], mask_BM[rows], sentence_P[of] - rows.start, labels_P[of])
            candidates = self._pairs.run(None, dict(zip(PAIR_INPUTS, arrays, strict=True)))  # type: ignore[union-attr]
            spans_P2K, of_span_P2K, of_link_PKK = candidates
            positions_PX4, score_PX = decoding.triples_of_pairs(
                spans_P2K, of_span_P2K, of_link_PKK, probability_P[of], M
            )
            pair_F, place_F = decoding.best_of_pairs(score_PX, least, most)
            parts.append((pair_F + start, positions_PX4[pair_F, place_F], score_PX[pair_F, place_F]))
        pair_F, positions_F4, score_F = (np.concatenate(column) for column in zip(*parts, strict=True))
        kept_F = decoding.best_of_sentences(sentence_P[pair_F], score_F, most)
        pair_F, positions_F4 = pair_F[kept_F], positions_F4[kept_F]
        return Prediction(sentence_P[pair_F], labels_P[pair_F], positions_F4, positions_F4, score_F[kept_F])


def session(graph: Path | bytes, threads: int | None = None) -> Any:
    """onnxruntime's session of a graph. Raises UserError if it can't be read or is of another version."""
    with needed("an exported ONNX model needs"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # is kept for each shape, and ours differ from batch to batch
    # threads that spin while they wait take the cores from other work, and from each other
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    name = "the graph" if isinstance(graph, bytes) else str(graph)
    try:
        made = onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of onnxruntime's own types, for what is no graph
        if from_memory_error(error):
            raise
        raise UserError(f"{name}: can't be read ({first_line(error)}): {ADVICE}") from error
    version = made.get_modelmeta().custom_metadata_map.get("mere_ds")
    if version != VERSION:
        raise UserError(f"{name}: not a graph that this version of mere-ds reads: export the model again")
    return made
