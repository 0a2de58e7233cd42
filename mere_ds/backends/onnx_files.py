"""The files of a model as ONNX graphs, which `mere_ds.graphs` writes and `with_onnx` reads.

`model.onnx`: token_ids_BM, mask_BM, languages_B -> for one triple a sentence relation_B, probability_B (among the
language's relations) and logits_BM4 of the positions; for any number probability_BU (-1 for a relation that the
language doesn't have) and states_BMD; cuts_BM4 where the model has heads for characters. `pairs.onnx`, for any number:
states_BMD, mask_BM, sentence_P, labels_P -> of each (sentence, relation) pair the likeliest spans of head and tail
spans_P2K (i to j as i * M + j), their probabilities of_span_P2K and those of the links of_link_PKK. The weights of each
are in a file beside it, `model.onnx.data` and `pairs.onnx.data`; where they are in the graph itself, it is read too.
"""

MODEL, PAIRS = "model.onnx", "pairs.onnx"
VERSION = "1"
"""Of this layout; a property of the graphs, `mere_ds`."""
PRECISION = "mere_ds_precision"
"""The property that says fp32 or int8."""
INPUTS = ("token_ids_BM", "mask_BM", "languages_B")
PAIR_INPUTS = ("states_BMD", "mask_BM", "sentence_P", "labels_P")
ONE, MANY = ("relation_B", "probability_B", "logits_BM4"), ("probability_BU", "states_BMD")
CUTS = "cuts_BM4"
PAIR_OUTPUTS = ("spans_P2K", "of_span_P2K", "of_link_PKK")


def weights_of(graph: str) -> str:
    """Name of the file with a graph's weights."""
    return f"{graph}.data"
