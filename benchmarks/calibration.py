"""Two ways to make scores probabilities, compared: `python benchmarks/calibration.py RUN`.

RUN is trained on any number of triples a sentence. Curves are fitted to its best model's candidates on dev and judged
on test, by expected calibration error and log loss: the raw scores, temperature and shift (what `mere-ds` does), and
isotonic regression (the non-decreasing function with the least squared error), each pooled over the languages and by
language where dev has enough candidates. Prints a table.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mere_ds import flags
from mere_ds.columns import align
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.evaluation.calibration import ENOUGH, Candidates, fit_curve, reliability
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import batches
from mere_ds.model.calibration import LEAST, logits, sigmoid
from mere_ds.model.loading import load_model
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model
from mere_ds.shards.manifest import Manifest

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""From raw scores (F) and whether they are right (F) to a function from raw scores to probabilities."""


@torch.no_grad()
def candidates(run: str) -> tuple[dict[str, Candidates], list[str]]:
    """The candidates of dev and test, and the languages."""
    trained = trained_model(RunFolder(run))
    manifest = Manifest.load(trained.run.settings(trained.stage)["shards"])
    model, device = load_model(trained.folder).eval(), torch.device("cpu")
    tokenizer = load_tokenizer(trained.folder)
    found = {}
    for split in ("dev", "test"):
        recorder = Recorder(manifest, split, tokenizer)
        for batch in batches(manifest, split, device):
            recorder.add(batch, model(batch.token_ids_BM, batch.mask_BM, batch.languages_B))
        found[split] = recorder.candidates()
    return found, manifest.languages


def temperature(raw_F: np.ndarray, right_F: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What `mere-ds` does."""
    curve = fit_curve(raw_F, right_F)
    return lambda x_F: sigmoid(logits(x_F) / curve.temperature + curve.shift)


def isotonic(raw_F: np.ndarray, right_F: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Isotonic regression; between the mean scores of two blocks, linear."""
    right_X, count_X, raw_X = pooled_blocks(raw_F, right_F).T
    return lambda x_F: np.interp(x_F, raw_X / count_X, right_X / count_X)


def pooled_blocks(raw_F: np.ndarray, right_F: np.ndarray) -> np.ndarray:
    """Isotonic regression by pooling neighbours that stand in the wrong order (Ayer et al., 1955).

    X3: of each block of candidates with the same value, by score: how many are right, how many there are, their scores'
    sum.
    """
    order_F = np.argsort(raw_F, kind="stable")
    blocks: list[list[float]] = []  # sum of right ones, number, sum of raw scores
    for score, right in zip(raw_F[order_F].tolist(), right_F[order_F].tolist(), strict=True):
        blocks.append([right, 1, score])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return np.array(blocks)


def by_language(fit: Fit, dev: Candidates, test: Candidates, languages: int) -> np.ndarray:
    """Test's probabilities (F), each language by its own fit where dev has `ENOUGH` candidates of it."""
    p_F = fit(dev.raw_F, dev.right_F)(test.raw_F)
    for n in range(languages):
        own_F = dev.languages_F == n
        if own_F.sum() >= ENOUGH:
            its_F = test.languages_F == n
            p_F[its_F] = fit(dev.raw_F[own_F], dev.right_F[own_F])(test.raw_F[its_F])
    return p_F


def quality(p_F: np.ndarray, right_F: np.ndarray) -> tuple[float, float]:
    """Expected calibration error in percent, and log loss in nats; probabilities are kept off 0 and 1."""
    inside_F = np.clip(p_F, LEAST, 1 - LEAST)
    loss = -float(np.mean(np.where(right_F, np.log(inside_F), np.log1p(-inside_F))))
    return 100 * reliability(np.clip(p_F, 0, 1), right_F)["error"], loss


def main(run: str) -> None:
    """Compare ways to calibrate on a run's candidates.

    Examples:
        python benchmarks/calibration.py runs/a

    Args:
        run: Run folder of a model with any number of triples a sentence; its shards must be where they were.
    """
    found, languages = candidates(run)
    dev, test = found["dev"], found["test"]
    lines = [["raw", *(f"{value:.3f}" for value in quality(test.raw_F, test.right_F))]]
    for name, fit in (("temperature and shift", temperature), ("isotonic", isotonic)):
        for how, p_F in (
            ("pooled", fit(dev.raw_F, dev.right_F)(test.raw_F)),
            ("by language", by_language(fit, dev, test, len(languages))),
        ):
            lines.append([f"{name}, {how}", *(f"{value:.3f}" for value in quality(p_F, test.right_F))])
    print(f"dev {len(dev.raw_F):,} candidates, {int(dev.right_F.sum()):,} right; test {len(test.raw_F):,}")
    print(align([["fitted on dev, judged on test", "calibration error (%)", "log loss"], *lines]))


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "calibration.py")
