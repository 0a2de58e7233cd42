"""Run a model over a split of the shards and score its answers.

Shape suffixes: N languages, C rows of a count table (`metrics.COLUMNS`), 3 its columns.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.distributed as dist

from mere_ds.evaluation.calibration import Candidates, calibrate, errors
from mere_ds.evaluation.metrics import COLUMNS, counts_of, scores
from mere_ds.evaluation.recording import Recorder
from mere_ds.shards.batch import Batch
from mere_ds.shards.encoding import FramingTokenizer
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader

EVALUATION_BATCH = 64


def score_split(
    forward: Callable,
    manifest: Manifest,
    split: str,
    tokenizer: FramingTokenizer,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    k: int | None = None,
    features: FeatureStore | None = None,
) -> dict:
    """Scores (see `metrics.scores`) of `forward`, a MereModel or the engine around one, on all of dev or test.

    They are computed from the records that `mere-ds evaluate` would write. Every rank scores its part, with the same
    number of calls; the counts are summed over ranks. `features` are the split's, if precomputed.

    If sentences have any number of triples, the answers are those at the threshold with the best F1, which is in
    "calibration" (see `Calibration.as_dict`), with the expected calibration error of the raw and of the calibrated
    scores as "error".
    """
    recorder = Recorder(manifest, split, tokenizer)
    for batch in batches(manifest, split, device, rank, ranks, features):
        with torch.no_grad():
            output = forward(batch.token_ids_BM, batch.mask_BM, batch.languages_B, k=k, features=batch.features)
        recorder.add(batch, output)
    told = {}
    if manifest.triples == "many":
        found = _of_all_ranks(recorder.candidates(), ranks)
        recorder.calibration = calibration = calibrate(found, manifest.languages)
        told = {"calibration": calibration.as_dict() | {"error": errors(found, calibration, manifest.languages)}}
    counts_NC3 = torch.from_numpy(count_right(recorder.answers(), manifest.languages)).to(device)
    if ranks > 1:
        dist.all_reduce(counts_NC3)
    missed = manifest.missed_test if split == "test" else None
    return scores(counts_NC3.cpu().numpy(), manifest.languages, missed) | told


def _of_all_ranks(own: Candidates, ranks: int) -> Candidates:
    if ranks == 1:
        return own
    gathered: list = [None] * ranks
    dist.all_gather_object(gathered, own)
    return Candidates.join(gathered)


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
        manifest.index_of(split),
        global_batch=EVALUATION_BATCH * ranks,
        shuffle=False,
    )
    reader = ShardReader(manifest, split, plan, rank, ranks, micro=EVALUATION_BATCH, features=features)
    with reader:
        for batch in reader:
            yield batch.to(device)


def count_right(records: Iterable[dict], languages: list[str]) -> np.ndarray:
    """Count answers and right answers by language: int64, N x C x 3."""
    counts_NC3 = np.zeros((len(languages), len(COLUMNS), 3), dtype=np.int64)
    places = {language: n for n, language in enumerate(languages)}
    for record in records:
        counts_NC3[places[record["lang"]]] += counts_of(record)
    return counts_NC3
