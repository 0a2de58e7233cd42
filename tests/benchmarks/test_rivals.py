"""The rivals of the speed comparison compute what our model computes, from the same weights."""

import copy

import pytest
import torch

from benchmarks.material import Sizes, make_material, sentences_of
from benchmarks.rivals.hf import padded_to_longest, train_hf
from benchmarks.rivals.literal import WIDTH, LiteralMere, forward_backward, make_optimizer, padded, predict, train_step

TINY = Sizes(
    tokenizer="tiny",
    vocabulary=1,  # no more than the tokenizer has
    hidden=32,
    layers=2,
    heads=2,
    feed_forward=64,
    dropout=0.0,
    submodule_layers=(2, 1, 1, 2),
    bottleneck=48,
    top_k=2,
)
BATCH = 8
PARTNERS = {1: 2, 2: 1}  # stage: sentences that LA sees together


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(tmp_path_factory.mktemp("material"), sentences=700, sizes=TINY)


@pytest.fixture(params=[1, 2], ids=["stage one", "stage two"])
def stage(request):
    return request.param


def both(material, stage, dtype=torch.float64):
    """Our model and the literal one with the same weights, larger than at the start: nothing is nearly linear."""
    ours = material.model(stage)
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return ours.to(dtype).train(), LiteralMere(ours.config).load_ours(ours).to(dtype).train()


def our_arguments(batch):
    return {name: getattr(batch, name) for name in ("token_ids_BM", "mask_BM", "languages_B")}


def our_losses(ours, batch, concatenate):
    gold = {"labels_T": batch.labels_T, "positions_T4": batch.positions_T4}
    return ours(**our_arguments(batch), **gold, concatenate=concatenate).loss_B


def gradients_as_weights(model):
    """A copy whose every weight is the model's gradient, 0 where there is none."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, original in zip(result.parameters(), model.parameters(), strict=True):
            parameter.copy_(torch.zeros_like(original) if original.grad is None else original.grad)
    return result


def test_literal_has_our_loss_and_gradients(material, stage):
    ours, literal = both(material, stage)
    [batch] = material.batches(1, BATCH, PARTNERS[stage])
    assert batch.mask_BM.shape[1] < WIDTH
    our_loss = our_losses(ours, batch, PARTNERS[stage]).mean()
    loss = literal(**padded(sentences_of([batch]), material.manifest.pad_id), concatenate=PARTNERS[stage])["loss"]
    torch.testing.assert_close(loss, our_loss)

    our_loss.backward()
    loss.backward()
    expected = dict(LiteralMere(ours.config).double().load_ours(gradients_as_weights(ours)).named_parameters())
    for name, parameter in literal.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected[name].data, rtol=1e-6, atol=1e-9, msg=f"gradient of {name}")
    own = {1: "encoder.embeddings.word_embeddings.weight", 2: "switcher.router.weight"}
    assert all(expected[name].data.any() for name in (own[stage], "heads.down.0.weight", "relation.weight"))


@pytest.mark.parametrize(("stage", "k"), [(1, None), (2, 1), (2, None), (2, 4)])
def test_literal_has_our_predictions(material, stage, k):
    ours, literal = (model.eval() for model in both(material, stage))
    for batch in material.batches(3, BATCH, split="dev"):
        with torch.no_grad():
            expected = ours(**our_arguments(batch), k=k)
        found = predict(literal, padded(sentences_of([batch]), material.manifest.pad_id), k=k)
        assert torch.equal(found["relation_B"], expected.relation_F)
        assert torch.equal(found["positions_B4"], expected.positions_F4)


def test_literal_steps_lower_the_loss(material, stage):
    _, literal = both(material, stage, torch.float32)
    frozen = {name: p.clone() for name, p in literal.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (stage == 2)
    [batch] = material.batches(1, BATCH, PARTNERS[stage])
    batch = padded_to_longest(sentences_of([batch]), material.manifest.pad_id)
    optimizer = make_optimizer(literal)
    losses = [train_step(literal, optimizer, batch, PARTNERS[stage]) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, frozen[name]) for name, p in literal.named_parameters() if name in frozen)


def test_parts_alone_have_our_gradients(material):
    ours, literal = both(material, stage=2)
    [batch] = material.batches(1, BATCH)
    h_BMD = torch.randn(*batch.mask_BM.shape, TINY.hidden, dtype=torch.float64)
    for part, rest in (("heads", (batch.mask_BM, batch.labels_T)), ("switcher", (batch.languages_B, 4))):
        gradients = [forward_backward(getattr(model, part), h_BMD, *rest) for model in (ours, literal)]
        torch.testing.assert_close(*gradients)
        assert gradients[0].any()


def test_trainer_starts_from_our_loss(material, stage):
    ours, literal = both(material, stage, torch.float32)
    seen = []
    literal.register_forward_hook(lambda _, __, given, output: seen.append((given, output["loss"])), with_kwargs=True)
    sentences = sentences_of(material.batches(6, BATCH))
    seconds = train_hf(literal, sentences, material.manifest.pad_id, BATCH, 2, PARTNERS[stage], bf16=False, warmup=1)
    assert len(seconds) == 2 and min(seconds) > 0 and len(seen) == 3
    widths = [given["token_ids_BM"].shape[1] for given, _ in seen]
    assert max(widths) < WIDTH and all(width % 8 == 0 for width in widths) and len(set(widths)) > 1
    first, loss = seen[0]
    assert first["concatenate"] == PARTNERS[stage]
    torch.testing.assert_close(loss, ours(**first).loss_B.mean())


def test_bf16_comes_near(material):
    ours, literal = both(material, stage=2, dtype=torch.float32)
    sentences = sentences_of(material.batches(2, BATCH))
    losses = []
    literal.register_forward_hook(lambda _, __, output: losses.append(output["loss"]))
    train_hf(literal, sentences, material.manifest.pad_id, BATCH, 1, 1, bf16=True, warmup=0)
    exact = [our_losses(ours, batch, 1).mean() for batch in material.batches(2, BATCH)]
    assert min(exact) * 0.8 < losses[0] < max(exact) * 1.25


def test_material_is_always_the_same(material, tmp_path):
    again = make_material(tmp_path, sentences=700, sizes=TINY)
    assert again.manifest.index_sha256 == material.manifest.index_sha256
    weights, others = material.model(2).state_dict(), again.model(2).state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert len(material.manifest.languages) == 14
    lengths = material.lengths()
    assert lengths["p50"] < lengths["mean"] < lengths["p99"] < WIDTH
