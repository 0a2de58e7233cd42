"""A model -> ONNX files of its graphs, as `mere_ds.backends.onnx_files` describes them."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mere_ds.backends.onnx_files import INPUTS, MODEL, PAIR_INPUTS, PAIR_OUTPUTS, PAIRS, PRECISION, VERSION
from mere_ds.errors import UserError, first_line, from_memory_error
from mere_ds.graphs.parts import PairGraph, graph_of
from mere_ds.graphs.quantizing import quantized
from mere_ds.graphs.saving import save_graph
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.parts import MereParts
from mere_ds.optional_libraries import needed

OPSET = 17
_AXES = {"B": "sentences", "M": "tokens", "P": "pairs"}
"""Letters of shape suffixes whose sizes differ from call to call, and their names in the graphs."""


def write_graphs(model: MereParts | HerbertaModel, folder: Path, precision: str = "fp32") -> None:
    """Write `model.onnx`, and `pairs.onnx` if texts have any number of triples, into a folder.

    `precision` is "fp32", or "int8" for products of 8-bit weights and word embeddings of 8 bits. Files are equal for
    equal models. Raises UserError for a model whose encoder can't become a graph, OSError for a full disk.
    """
    model = model.float().cpu().eval()
    whole = graph_of(model)
    example = _example(model)
    _write(whole, folder / MODEL, INPUTS, whole.outputs, example, precision, model)
    if getattr(model.config, "triples", "one") == "many":
        B, M = example[1].shape
        states_BMD = torch.randn(B, M, model.encoder.hidden_size)
        assert isinstance(model.heads, nn.Module)
        pairs = (states_BMD, example[1], torch.tensor([0, 0, 1]), torch.tensor([0, len(model.config.labels) - 1, 0]))
        _write(PairGraph(model.heads), folder / PAIRS, PAIR_INPUTS, PAIR_OUTPUTS, pairs, precision, model)


def _example(model: MereParts | HerbertaModel) -> tuple[torch.Tensor, ...]:
    """Two sentences of different length and language, to follow the computation with."""
    c = model.config
    languages_B = torch.tensor([0, len(c.languages) - 1])
    token_ids_BM = torch.randint(model.config.encoder_config["vocab_size"], (2, 9))
    token_ids_BM[:, 1] = torch.tensor(c.language_token_ids)[languages_B]
    return token_ids_BM, torch.arange(9) < torch.tensor([[9], [6]]), languages_B


@torch.no_grad()
def _write(
    graph: nn.Module,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    example: tuple[torch.Tensor, ...],
    precision: str,
    model: MereParts | HerbertaModel,
) -> None:
    with needed("an ONNX graph needs"):
        import onnx
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        # above 2 GiB the exporter writes files of weights beside it, if it is told where by a string and not by a Path
        exported = str(Path(place) / MODEL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of branches that it follows once; the result is compared with torch's
                # the exporter that follows one call: the newer one takes 25 times as long
                torch.onnx.export(
                    graph.eval(),
                    example,
                    exported,
                    input_names=inputs,
                    output_names=outputs,
                    dynamic_axes={name: _axes(name) for name in (*inputs, *outputs)},
                    opset_version=OPSET,
                    dynamo=False,
                )
        except Exception as error:  # of many types, for what has no counterpart among ONNX's operators
            if from_memory_error(error) or isinstance(error, OSError):
                raise
            kind = model.config.encoder_config.get("model_type")
            raise UserError(
                f"a model with this encoder ({kind}) can't become an ONNX graph ({first_line(error)}): export it "
                "without --to=onnx"
            ) from error
        made: Any = onnx.load(exported)
        if precision == "int8":
            made = quantized(made, model.config.encoder_config["vocab_size"], Path(place))
    onnx.helper.set_model_props(made, {"mere_ds": VERSION, PRECISION: precision})
    save_graph(made, path)


def _axes(name: str) -> dict[int, str]:
    """Of `token_ids_BM` the axes 0 and 1."""
    return {i: _AXES[letter] for i, letter in enumerate(name.rpartition("_")[2]) if letter in _AXES}
