"""How many floating-point operations a step must do: its matrix products on real tokens, without padding.

Shape suffixes as in `mere_ds.model`.
"""

from mere_ds.model.mere import MereModel
from mere_ds.shards.batch import Batch


def encoder_flops(model: MereModel, batches: list[Batch], s: int = 1) -> float:
    """Forward pass of encoder and LA (eq. 2 and 4); `s` sentences see each other in LA."""
    config = model.encoder.model.config
    D = config.hidden_size
    weights = config.num_hidden_layers * (4 * D * D + 2 * D * config.intermediate_size) + 3 * D * D
    total = 0.0
    for batch in batches:
        lengths_B = batch.mask_BM.sum(1).double()
        own = (lengths_B**2).sum() * config.num_hidden_layers
        together = (lengths_B.view(-1, s).sum(1) ** 2).sum()
        total += float(2 * weights * lengths_B.sum() + 4 * D * (own + together))
    return total


def stage_flops(
    model: MereModel, batches: list[Batch], stage: int, s: int, k: int | None = None, training: bool = True
) -> float:
    """One pass over the batches: stage one all of it, stage two what follows the frozen part.

    Training counts the backward products too: two for each forward one, but only one where the input (the frozen
    features) has no gradient. `k` sub-modules run in prediction; they are taken to be of average depth.
    """
    D, tokens = model.relation.in_features, sum(int(batch.mask_BM.sum()) for batch in batches)
    heads = 2 * 4 * D * D * tokens
    if stage == 1:
        return 3 * (encoder_flops(model, batches, s) + heads)
    layers = model.config.submodule_layers
    product = 2 * D * model.config.bottleneck * tokens  # one of a layer's two
    if not training:
        return heads + 2 * product * sum(layers) * (k or len(layers)) / len(layers)
    return 3 * heads + product * (6 * sum(layers) - len(layers))
