"""Run a model over a split of the shards and count what is right.

Shape suffixes: B sentences, N languages, C columns of a count table (`metrics.COLUMNS`), Q metrics (`METRICS`).
"""

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist

from mere_ds.evaluation.metrics import COLUMNS, scores
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
    features: FeatureStore | None = None,
) -> dict:
    """Scores (see `metrics.scores`) of `forward`, a MereModel or the engine around one, on all of a split.

    Every rank takes its share and makes the same number of calls; the counts are summed over ranks. `features` are the
    split's, where the model need not compute them.
    """
    counts_NC = torch.zeros(len(manifest.languages), len(COLUMNS), dtype=torch.int64, device=device)
    for batch in batches(manifest, split, device, rank, ranks, features):
        with torch.no_grad():
            output = forward(batch.token_ids_BM, batch.mask_BM, batch.languages_B, k=k, features=batch.features)
        counts_NC += count_right(batch, output.relation_B, output.positions_B4, len(manifest.languages))
    if ranks > 1:
        dist.all_reduce(counts_NC)
    return scores(counts_NC.cpu().numpy(), manifest.languages, manifest.missed_test if split == "test" else None)


def batches(
    manifest: Manifest,
    split: str,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    features: FeatureStore | None = None,
) -> Iterator[Batch]:
    """Each batch of a rank's share of a split, on `device`."""
    plan = EpochPlan(
        manifest.lengths(split),
        manifest.language_ids(split),
        manifest.shard_sizes(split),
        global_batch=EVALUATION_BATCH * ranks,
        shuffle=False,
    )
    reader = ShardReader(manifest, split, plan, rank, ranks, micro=EVALUATION_BATCH, features=features)
    with reader:
        for batch in reader:
            yield batch.to(device)


def right_answers(batch: Batch, relation_B: torch.Tensor, positions_B4: torch.Tensor) -> torch.Tensor:
    """Which of `METRICS` each sentence's prediction gets right: bool, (B, Q). A gold span that was cut off (-1) never
    is."""
    same_B4 = (positions_B4 == batch.positions_B4) & (batch.positions_B4 >= 0)
    relation_B = relation_B == batch.labels_B
    head_B, tail_B = same_B4[:, :2].all(1), same_B4[:, 2:].all(1)
    pair_B = head_B & tail_B
    triple_B = pair_B & relation_B
    return torch.stack([relation_B, pair_B, head_B, tail_B, triple_B, triple_B & batch.exact_B2.all(1)], dim=1)


def count_right(batch: Batch, relation_B: torch.Tensor, positions_B4: torch.Tensor, languages: int) -> torch.Tensor:
    """Count a batch's sentences, predictions and right answers by language: int64, (N, C). Fillers don't count."""
    right_BQ = right_answers(batch, relation_B, positions_B4)
    table_BC = torch.cat([torch.ones_like(right_BQ[:, :2]), right_BQ], dim=1)
    real_B = batch.weights_B > 0
    counts_NC = torch.zeros(languages, len(COLUMNS), dtype=torch.int64, device=table_BC.device)
    return counts_NC.index_add_(0, batch.languages_B[real_B], table_BC[real_B].long())
