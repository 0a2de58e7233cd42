"""--embedding_rows=touched: AdamW on the whole table of word embeddings, computed only where a batch has tokens."""

import signal
from functools import partial

import numpy as np
import pytest
import torch
from launching import records, weights
from meddling import signal_before_update
from outcomes import assert_same_results
from ranks import run_ranks
from torch import nn

from mere_ds.errors import UserError
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.training.deepspeed_config import check_embedding_rows
from mere_ds.training.touched_rows import History, TouchedRows

V, D, STEPS = 300, 8, 250
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}


def zipf(step: int) -> torch.Tensor:
    """Twenty tokens of a text: some in every step, some never; and none in a few steps."""
    random = np.random.default_rng(step)
    return torch.from_numpy(np.minimum(random.zipf(1.3, 0 if step % 50 == 49 else 20), V) - 1)


def rate_of(step: int) -> float:
    return ADAM["lr"] * min(1, (step + 1) / 20) * (1 - step / STEPS)


def gradient_of(step: int, tokens: int) -> torch.Tensor:
    """Of a token's embedding: of very different sizes."""
    random = torch.Generator().manual_seed(step)
    sizes = 10.0 ** torch.randint(-9, 1, (tokens, 1), generator=random)
    return torch.randn(tokens, D, generator=random, dtype=torch.float64) * sizes


def start() -> torch.Tensor:
    return torch.randn(V, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.05


def whole_table(dtype: torch.dtype) -> torch.Tensor:
    """torch's AdamW on all rows."""
    table = nn.Parameter(start().to(dtype))
    optimizer = torch.optim.AdamW([table], **ADAM, fused=True)
    for step in range(STEPS):
        ids = zipf(step)
        table.grad = torch.zeros_like(table).index_add_(0, ids, gradient_of(step, len(ids)).to(dtype))
        optimizer.param_groups[0]["lr"] = rate_of(step)
        optimizer.step()
    return table.detach()


def by_rows() -> tuple[TouchedRows, nn.Embedding]:
    words = nn.Embedding(V, D, _weight=start().float())
    optimizer = torch.optim.AdamW(words.parameters(), **ADAM, fused=True)
    moments = {key: torch.zeros(V, D) for key in ("exp_avg", "exp_avg_sq")}
    return TouchedRows(words, optimizer.param_groups[0], moments), words


def train(rows: TouchedRows, words: nn.Embedding, steps: range) -> None:
    for step in steps:
        ids = zipf(step)
        (words(ids) * gradient_of(step, len(ids)).float()).sum().backward()
        rows.group["lr"] = rate_of(step)
        rows.take()
        rows.update()


def test_it_is_nearly_adamw_on_the_whole_table():
    rows, words = by_rows()
    train(rows, words, range(STEPS))
    exact, usual = whole_table(torch.float64), whole_table(torch.float32)
    assert (rows.seen_V < STEPS).any(), "some rows wait"
    ours = rows.settled(torch.empty(V, D))
    rows.settle_all()
    assert torch.equal(words.weight, ours)
    error, usual_error = ((x - exact).abs() for x in (ours, usual))
    assert error.max() < 0.01 * ADAM["lr"] and error.mean() < 5 * usual_error.mean()
    assert (exact - start()).abs().mean() > ADAM["lr"], "it has moved"


@pytest.mark.parametrize(("t", "most"), [(1, 0.0032), (20, 0.00007), (100, 0.000001)])
def test_two_terms_stand_for_all_missed_updates(t, most):
    """For a first moment of 1 and eps = 1, and roots x of the second moment of all sizes."""
    (b1, b2), decay, x_X = ADAM["betas"], ADAM["weight_decay"], np.logspace(-4, 4, 200)
    for missed in (1, 2, 5, 20, 100, 400):
        history = History((b1, b2), decay)
        history.restore(np.full(t + missed, ADAM["lr"]))
        its, k_K = history.since(np.array([t])), np.arange(1, missed + 1)
        c_K = ADAM["lr"] * b1**k_K / (1 - b1 ** (t + k_K)) * (1 - ADAM["lr"] * decay) ** (missed - k_K)
        s_K = np.sqrt(b2**k_K / (1 - b2 ** (t + k_K)))
        all_X = (c_K / (x_X[:, None] * s_K + 1)).sum(axis=1)
        two_X = sum(c / (x_X * s + 1) for c, s in zip(its.pushes, its.spreads, strict=True))
        assert np.abs(two_X / all_X - 1).max() < most


def test_a_checkpoint_changes_nothing_and_restores_all():
    (one, one_words), (two, two_words) = by_rows(), by_rows()
    train(one, one_words, range(STEPS))
    train(two, two_words, range(100))
    two.settled(torch.empty(V, D))
    saved = two.state("words", two.table.detach().clone()) | {k: m.clone() for k, m in two.moments.items()}
    other, other_words = by_rows()
    for key, moment in other.moments.items():
        moment.copy_(saved[key])
    other.restore("words", saved.__getitem__)
    train(other, other_words, range(100, STEPS))
    assert torch.equal(other_words.weight, one_words.weight) and torch.equal(other.seen_V, one.seen_V)
    assert all(torch.equal(other.moments[key], one.moments[key]) for key in one.moments)


def test_it_is_refused_where_it_cannot_work():
    adam = {"optimizer": {"type": "AdamW", "params": {"torch_adam": True}}}
    check_embedding_rows(adam)
    refused = {
        "needs ZeRO 0 and fp32 weights": adam | {"zero_optimization": {"stage": 1}},
        "needs ZeRO 0 and fp32": adam | {"bf16": {"enabled": True}},
        "needs torch's AdamW": {"optimizer": {"type": "AdamW", "params": {}}},
        "needs torch's": {"optimizer": {"type": "Adam", "params": {"torch_adam": True, "adam_w_mode": False}}},
        "needs gradient_predivide_factor = 1": adam | {"gradient_predivide_factor": 2.0},
    }
    for message, ds in refused.items():
        with pytest.raises(UserError, match=message):
            check_embedding_rows(ds)
    words = nn.Embedding(V, D)
    moments = {key: torch.zeros(V, D) for key in ("exp_avg", "exp_avg_sq")}
    with pytest.raises(UserError, match="times --weight_decay below 1"):
        TouchedRows(words, ADAM | {"lr": 10.0}, moments)
    words = type("Scaled", (nn.Embedding,), {"forward": lambda self, ids: 2 * self.weight[ids]})(V, D)
    with pytest.raises(UserError, match="of a kind of their own, Scaled"):
        TouchedRows(words, ADAM, moments)


@pytest.fixture(scope="module")
def train_stage_one(dropout_shards, zero):
    """train_stage_one(ranks, run=..., ...): an epoch of stage one, saved every three updates."""

    def train(ranks: int, code: int = 0, **knobs) -> None:
        told = {"stage": "1", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1, "eval_steps": 4}
        told |= {"shards": dropout_shards, "deepspeed_config": zero(0), "save_steps": 3, "word_dropout": 0.1}
        run_ranks(ranks, **(told | knobs)).ended(code)

    return train


@pytest.fixture(scope="module")
def touched(train_stage_one, tmp_path_factory):
    """A run of two ranks."""
    run = tmp_path_factory.mktemp("touched") / "run"
    train_stage_one(2, run=run, embedding_rows="touched")
    return run


@pytest.mark.slow
def test_a_training_is_that_of_all_rows(train_stage_one, touched, tmp_path):
    train_stage_one(2, run=tmp_path / "all")
    losses = [[row["loss"] for row in records(run)] for run in (touched, tmp_path / "all")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    ours, theirs = (weights(run, 1) for run in (touched, tmp_path / "all"))
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) < 5e-4, "half an update"


@pytest.mark.slow
def test_it_goes_on_exactly_from_a_save_that_no_other_run_makes(train_stage_one, touched, tmp_path):
    run, knobs = tmp_path / "run", {"embedding_rows": "touched", "save_steps": 1000}
    stop = partial(signal_before_update, signal.SIGUSR1, 1, 5, 0)
    train_stage_one(2, LEFT_EARLY, run=run, meddle=stop, **knobs)
    train_stage_one(2, run=run, **knobs)
    assert "stage 1 resumes from step-00000005\n" in (run / "log.txt").read_text()
    assert_same_results(run, touched, stages=(1,))
