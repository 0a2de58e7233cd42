"""Run a model over a split of the shards and score its answers.

Shape suffixes: N languages, C columns of a count table (`metrics.COLUMNS`).
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.distributed as dist
from transformers import PreTrainedTokenizerFast

from mere_ds.evaluation.metrics import COLUMNS, METRICS, scores
from mere_ds.evaluation.recording import Recorder
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
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    k: int | None = None,
    features: FeatureStore | None = None,
) -> dict:
    """Scores (see `metrics.scores`) of `forward`, a MereModel or the engine around one, on all of dev or test.

    They are computed from the records that `mere-ds evaluate` would write. Every rank scores its part, with the same
    number of calls; the counts are summed over ranks. `features` are the split's, if precomputed.
    """
    recorder = Recorder(manifest, split, tokenizer)
    for batch in batches(manifest, split, device, rank, ranks, features):
        with torch.no_grad():
            output = forward(batch.token_ids_BM, batch.mask_BM, batch.languages_B, k=k, features=batch.features)
        recorder.add(batch, output)
    counts_NC = torch.from_numpy(count_right(recorder.answers(), manifest.languages)).to(device)
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
    """The batches of a rank's part of a split, on `device`."""
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


def count_right(records: Iterable[dict], languages: list[str]) -> np.ndarray:
    """Count answers and right answers by language: int64, N x C."""
    counts_NC = np.zeros((len(languages), len(COLUMNS)), dtype=np.int64)
    places = {language: n for n, language in enumerate(languages)}
    for record in records:
        counts_NC[places[record["lang"]]] += [1, 1, *(metric in record["right"] for metric in METRICS)]
    return counts_NC
