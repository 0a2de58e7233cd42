"""Run a model over a split of the shards and score it."""

from collections.abc import Callable

import torch
import torch.distributed as dist

from mere_ds.evaluation.metrics import COLUMNS, count_right, scores
from mere_ds.shards.batch import Batch
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader

EVALUATION_BATCH = 64


def score_split(
    forward: Callable,
    manifest: Manifest,
    split: str,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    k: int | None = None,
    on_batch: Callable[[Batch, object], None] | None = None,
    features: FeatureStore | None = None,
) -> dict:
    """Scores (see `metrics.scores`) of `forward`, a MereModel or the engine around one, on all of a split.

    Every rank takes its share and makes the same number of calls; the counts are summed over ranks. `on_batch` is
    shown each batch with its predictions. `features` are the split's, where the model need not compute them.
    """
    plan = EpochPlan(
        manifest.lengths(split),
        manifest.language_ids(split),
        manifest.shard_sizes(split),
        global_batch=EVALUATION_BATCH * ranks,
        shuffle=False,
    )
    counts_NC = torch.zeros(len(manifest.languages), len(COLUMNS), dtype=torch.int64, device=device)
    reader = ShardReader(manifest, split, plan, rank, ranks, micro=EVALUATION_BATCH, features=features)
    with torch.no_grad(), reader:
        for batch in reader:
            batch = batch.to(device)
            output = forward(batch.token_ids_BM, batch.mask_BM, batch.languages_B, k=k, features=batch.features)
            counts_NC += count_right(batch, output.relation_B, output.positions_B4, len(manifest.languages))
            if on_batch:
                on_batch(batch, output)
    if ranks > 1:
        dist.all_reduce(counts_NC)
    return scores(counts_NC, manifest.languages, manifest.missed_test if split == "test" else None)
