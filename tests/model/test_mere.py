"""The whole model: equation 12 and its gradient, prediction, invariances, precision."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from mere_ds.config import PRESETS
from mere_ds.errors import UserError
from mere_ds.model.decoding import best_spans
from mere_ds.model.mere import MereModel
from mere_ds.model.switcher import LanguageSwitcher
from tests.model.reference import arrays, losses, numeric_gradients
from tests.model.samples import ENCODERS, NO_DROPOUT, bert, tiny_batch, tiny_config, tiny_model, without_gold

FORMS = {
    "mERE": {"stage": 2},
    "mERE printed": {"stage": 2, "la_residual": False},
    "mERE-LS": {"use_ls": False},
    "mERE-LS printed": {"use_ls": False, "la_residual": False},
    "mERE-LS-LA": {"use_la": False, "use_ls": False},
    "stage one": {},
    "mERE14": {"stage": 2, "routing": "language"},
    "mBERT": {"use_la": False, "use_ls": False, "entity_heads": "states"},
    "mERE with characters": {"stage": 2, "characters": 4},
    "mBERT with characters": {"use_la": False, "use_ls": False, "entity_heads": "states", "characters": 3},
}


def encoded(model, batch):
    """The encoder's outputs as unpadded NumPy arrays, and h_p."""
    with torch.no_grad():
        h_BMD, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
    return [h[mask].numpy() for h, mask in zip(h_BMD, batch["mask_BM"], strict=True)], pooled_BD.numpy()


def gold(batch):
    return {name: batch[name].numpy() for name in ("languages_B", "labels_T", "positions_T4", "cuts_T4")}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("s", [1, 2])
def test_loss_is_equation_12(name, s):
    model, batch = tiny_model(alpha=1.7, beta=0.6, **FORMS[name]), tiny_batch()
    output = model(**batch, concatenate=s)
    terms_BN, loss_B, cuts_B = losses(arrays(model), model.config, *encoded(model, batch), gold(batch), s)
    np.testing.assert_allclose(output.terms_BN[:, :5].detach(), terms_BN, atol=1e-10)
    np.testing.assert_allclose(output.loss_B.detach(), loss_B, atol=1e-10)
    if model.config.characters:
        np.testing.assert_allclose(output.terms_BN[:, 5].detach(), cuts_B, atol=1e-10)
    else:
        assert output.terms_BN.shape[1] == 5 and not any(name.startswith("cuts") for name in model.state_dict())


@pytest.mark.parametrize("name", ["mERE", "mERE-LS", "mERE-LS printed", "mERE14", "mBERT", "mBERT with characters"])
def test_gradient_is_that_of_equation_12(name):
    """Autograd against central differences of the NumPy form, for every weight that is trained after the encoder."""
    model = tiny_model(partial(bert, hidden_size=4), bottleneck=5, submodule_layers=[1, 2], **FORMS[name])
    batch = tiny_batch(lengths=(6, 5))
    model(**batch, concatenate=2).loss_B.sum().backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("encoder.")}
    inputs = encoded(model, batch)

    def total(weights):
        return losses(weights, model.config, *inputs, gold(batch), 2)[1].sum()

    for parameter, gradient in numeric_gradients(total, arrays(model), trained).items():
        np.testing.assert_allclose(trained[parameter].grad, gradient, atol=2e-7, err_msg=parameter)


def test_gradient_reaches_every_encoder_weight_in_stage_one():
    model, batch = tiny_model(), tiny_batch()
    model(**batch, concatenate=2).loss_B.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_more_changes_nothing(encoder, stage):
    model = tiny_model(ENCODERS[encoder], stage)
    narrow, wide = tiny_batch(), tiny_batch()
    for name in ("token_ids_BM", "mask_BM"):
        wide[name] = torch.nn.functional.pad(wide[name], (0, 5))
    for s in (1, 2):
        torch.testing.assert_close(model(**narrow, concatenate=s).loss_B, model(**wide, concatenate=s).loss_B)
        ours, theirs = (model(**without_gold(batch), concatenate=s) for batch in (narrow, wide))
        assert torch.equal(ours.positions_F4, theirs.positions_F4)
        torch.testing.assert_close(ours.score_F, theirs.score_F)


@pytest.mark.parametrize("stage", [1, 2])
def test_order_of_the_batch_is_the_order_of_the_answers(stage):
    model, batch = tiny_model(stage=stage), tiny_batch()
    order = torch.tensor([2, 0, 3, 1])
    shuffled = {name: tensor[order] for name, tensor in batch.items()}
    torch.testing.assert_close(model(**batch).terms_BN[order], model(**shuffled).terms_BN)
    ours, theirs = model(**without_gold(batch)), model(**without_gold(shuffled))
    assert torch.equal(ours.positions_F4[order], theirs.positions_F4)
    assert torch.equal(ours.relation_F[order], theirs.relation_F)


def test_fillers_have_no_loss_and_no_gradient():
    """Whether its gold values are -1 or made up, a filler of weight 0 leaves the gradients of the others alone."""
    model, batch = tiny_model(), tiny_batch()
    model(**batch).loss_B.sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    filler = {
        "token_ids_BM": torch.zeros_like(batch["token_ids_BM"][:1]),
        "mask_BM": torch.arange(batch["mask_BM"].shape[1])[None] == 0,
        "languages_B": torch.zeros(1, dtype=torch.int64),
        "labels_T": torch.tensor([-1]),
        "positions_T4": torch.full((1, 4), -1),
        "cuts_T4": torch.full((1, 4), -1),
    }
    for label, position in ((-1, -1), (0, -1), (0, 0)):
        filler["labels_T"].fill_(label)
        filler["positions_T4"].fill_(position)
        model.zero_grad()
        output = model(**{name: torch.cat((batch[name], filler[name])) for name in batch})
        assert output.loss_B.isfinite().all()
        assert label == 0 or not output.terms_BN[4].any()
        (output.loss_B * torch.tensor([1.0, 1, 1, 1, 0])).sum().backward()
        for name, gradient in expected.items():
            torch.testing.assert_close(model.get_parameter(name).grad, gradient, msg=name)


def test_a_span_that_was_cut_off_counts_nothing():
    model, batch = tiny_model(), tiny_batch()
    whole = model(**batch)
    batch["positions_T4"][1, 2:] = -1
    cut = model(**batch)
    expected = whole.terms_BN.clone()
    expected[1, 2:4] = 0
    assert torch.equal(cut.terms_BN, expected)


@pytest.mark.parametrize("ordered_spans", [True, False])
def test_prediction_takes_the_language_s_best_relation_and_the_entities_given_it(ordered_spans):
    model, batch = tiny_model(stage=2, ordered_spans=ordered_spans), tiny_batch(lengths=(9, 6, 12, 5, 7, 8), seed=3)
    output = model(**without_gold(batch), k=3)
    with torch.no_grad():
        h_BMD, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
        h_BMD = model.switcher(model.aggregator(h_BMD, batch["mask_BM"], 1), batch["languages_B"], 3)
        mask_BU = torch.tensor(model.config.label_mask)[batch["languages_B"]].bool()
        p_BU = model.relation(pooled_BD).masked_fill(~mask_BU, -torch.inf).softmax(dim=1)
        positions_B4, entities_B = best_spans(model.heads(h_BMD, batch["mask_BM"], p_BU.argmax(dim=1)), ordered_spans)
    assert torch.equal(output.relation_F, p_BU.argmax(dim=1))
    assert torch.equal(output.positions_F4, positions_B4)
    torch.testing.assert_close(output.relation_probability_F, p_BU.amax(dim=1))
    torch.testing.assert_close(output.score_F, p_BU.amax(dim=1) * entities_B)


def test_heads_for_characters_leave_all_else_as_it_is():
    """The same weights, the same five terms, the same answers; without gold cuts nothing is added to the loss."""
    batch = tiny_batch()
    without, model = tiny_model(), tiny_model(characters=15)
    ours, theirs = model.state_dict(), without.state_dict()
    assert ours.keys() - theirs.keys() == {"cuts.counts_4CD", "cuts.bias"}
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    expected, output = without(**batch), model(**batch)
    assert torch.equal(output.terms_BN[:, :5], expected.terms_BN) and not torch.equal(output.loss_B, expected.loss_B)
    unknown = batch | {"cuts_T4": torch.full((4, 4), -1)}
    assert torch.equal(model(**unknown).loss_B, expected.loss_B)
    expected, output = without(**without_gold(batch)), model(**without_gold(batch))
    assert torch.equal(output.positions_F4, expected.positions_F4) and torch.equal(output.score_F, expected.score_F)
    assert not expected.cuts_F4.any() and output.cuts_F4.any()


def test_characters_are_told_by_the_tokens_that_were_found():
    model, batch = tiny_model(stage=2, characters=4), without_gold(tiny_batch())
    with torch.no_grad():
        model.cuts.bias.normal_()
    batch["mask_BM"][1, 1:] = False  # no word: no span, nothing to cut
    output = model(**batch, k=3)
    weights, cuts = arrays(model), output.cuts_F4
    with torch.no_grad():
        h_BMD, _ = model.unify(batch["token_ids_BM"], batch["mask_BM"])
        h_BMD = model.switcher(h_BMD, batch["languages_B"], 3).numpy()
    assert cuts[1].tolist() == [0] * 4
    for b in (0, 2, 3):
        for y, place in enumerate(output.positions_F4[b].tolist()):
            logits = weights["cuts.counts_4CD"][y] @ h_BMD[b, place] + weights["cuts.bias"].reshape(4, -1)[y]
            assert cuts[b, y] == logits.argmax()


def test_label_mask_is_of_prediction_only():
    batch = tiny_batch()
    free, masked = tiny_model(label_mask=[[1] * 4] * 3), tiny_model(label_mask=[[0, 0, 0, 1]] * 3)
    assert torch.equal(free(**batch).loss_B, masked(**batch).loss_B)
    assert masked(**without_gold(batch)).relation_F.tolist() == [3] * 4


def test_a_filler_in_prediction_has_no_span():
    model, batch = tiny_model(), without_gold(tiny_batch())
    batch["mask_BM"][1, 1:] = False
    output = model(**batch)
    assert output.positions_F4[1].tolist() == [-1] * 4 and output.score_F[1] == 0
    assert (output.positions_F4[[0, 2, 3]] >= 2).all()


def test_every_sub_module_in_training_and_the_top_k_in_prediction():
    model, batch = tiny_model(stage=2), tiny_batch()
    assert torch.equal(model(**batch).terms_BN, model(**batch, k=3).terms_BN)
    assert not torch.equal(model(**batch).terms_BN, model(**batch, k=2).terms_BN)
    default, two, three = (model(**without_gold(batch), k=k).score_F for k in (None, 2, 3))
    assert torch.equal(default, two) and not torch.equal(two, three)
    with pytest.raises(UserError, match="between 1 and"):
        model(**batch, k=4)


def test_gold_values_come_together():
    batch = tiny_batch()
    del batch["positions_T4"]
    with pytest.raises(AssertionError):
        tiny_model()(**batch)


@pytest.mark.parametrize("preset", ["mERE", "mERE14", "mERE-LS", "mERE-LS-LA"])
def test_presets_have_the_parts_of_their_name(preset):
    model = tiny_model(**PRESETS[preset], stage=1 if "-LS" in preset else 2)
    assert (model.aggregator is None, model.switcher is None) == ("-LA" in preset, "-LS" in preset)
    assert isinstance(model.switcher, LanguageSwitcher) == (preset == "mERE14")


def test_entity_heads_on_states_do_not_know_the_relation():
    model, batch = tiny_model(entity_heads="states"), tiny_batch()
    other = batch | {"labels_T": (batch["labels_T"] + 1) % 4}
    assert torch.equal(model(**batch).terms_BN[:, :4], model(**other).terms_BN[:, :4])
    assert not any(name.startswith("heads.relation") for name, _ in model.named_parameters())


def test_a_language_s_own_sub_module_is_the_only_one_that_its_sentences_train():
    model, batch = tiny_model(stage=2, routing="language"), tiny_batch()
    batch["languages_B"].fill_(1)
    model(**batch).loss_B.sum().backward()
    for name, parameter in model.switcher.named_parameters():
        assert parameter.grad[1].any() and not parameter.grad[[0, 2]].any(), name


@pytest.mark.parametrize("stage", [1, 2])
def test_half_precision_agrees(stage):
    """bf16 weights, or fp32 ones under bf16 autocast: each term within 2 % of its fp32 value, and in fp32."""
    batch = tiny_batch(lengths=(20, 14, 9, 17))
    exact = tiny_model(partial(bert, hidden_size=32), stage, spread=0.2).float()
    expected = exact(**batch, concatenate=2).terms_BN
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = exact(**batch, concatenate=2).terms_BN
        scores = exact(**without_gold(batch)).score_F
    half = copy.deepcopy(exact).bfloat16()
    lowered = half(**batch, concatenate=2).terms_BN
    assert mixed.dtype == lowered.dtype == scores.dtype == half(**without_gold(batch)).score_F.dtype == torch.float32
    torch.testing.assert_close(mixed, expected, rtol=0.02, atol=0)
    torch.testing.assert_close(lowered, expected, rtol=0.02, atol=0)


def test_gradient_checkpointing_gives_the_same_gradients():
    model, batch = tiny_model(partial(bert, **NO_DROPOUT)).train(), tiny_batch()
    model(**batch, concatenate=2).loss_B.sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    model(**batch, concatenate=2).loss_B.sum().backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, msg=name)


def test_language_symbols_must_be_tokens_of_the_encoder():
    with pytest.raises(UserError, match="language_token_ids"):
        MereModel.from_encoder(bert(), tiny_config(language_token_ids=[5, 6, 40]))
