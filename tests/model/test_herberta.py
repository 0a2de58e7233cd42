"""HERBERTa: its two losses, its chain, what each of its stages trains, and what a folder keeps."""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModel

from mere_ds.errors import UserError
from mere_ds.model.configuration import HerbertaConfig
from mere_ds.model.decoding import best_spans
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from tests.model.reference import arrays, cross_entropy, entity_terms, numeric_gradients
from tests.model.samples import ENCODERS, bert, tiny_batch, tiny_config, tiny_model, without_gold

ALPHA, BETA = 1.7, 0.6


def herberta(encoder=bert, stage=2, **choices):
    """As `tiny_model`; its second encoder has other weights than its first."""
    torch.manual_seed(0)
    of_mere = tiny_config().to_dict()
    data = {name: of_mere[name] for name in ("languages", "labels", "label_mask", "language_token_ids", "max_length")}
    config = HerbertaConfig(**data | {"alpha": ALPHA, "beta": BETA} | choices)
    model = HerbertaModel.from_encoder(encoder(initializer_range=0.3), config).double()
    if stage == 2:
        model.begin_stage_two(encoder(initializer_range=0.3))
    return model.eval()


def test_the_relation_takes_one_of_the_encoder_s_places(tmp_path):
    herberta(stage=2, max_length=39).save_pretrained(tmp_path / "fits")
    herberta(stage=2, max_length=40).save_pretrained(tmp_path / "longer")
    load_model(tmp_path / "fits")
    with pytest.raises(UserError, match="max_length 40, but the model's encoder takes at most 39 tokens"):
        load_model(tmp_path / "longer")


def test_stage_one_is_trained_by_the_relation_alone():
    model, batch = herberta(stage=1), tiny_batch()
    output = model(**batch)
    with torch.no_grad():
        _, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
    logits_BU = pooled_BD.numpy() @ arrays(model)["relation.weight"].T
    expected = [cross_entropy(logits, label) for logits, label in zip(logits_BU, batch["labels_T"], strict=True)]
    np.testing.assert_allclose(output.terms_BN[:, 4].detach(), expected, atol=1e-10)
    np.testing.assert_allclose(output.loss_B.detach(), BETA * np.array(expected), atol=1e-10)
    assert not output.terms_BN[:, :4].any()


def states_one_by_one(model, batch):
    """The second encoder's states of each sentence alone, its relation as the second token of a list of embeddings."""
    words = model.tagger.encoder.get_input_embeddings().weight
    for ids, mask, label in zip(batch["token_ids_BM"], batch["mask_BM"], batch["labels_T"], strict=True):
        first, *rest = ids[mask]
        sequence = torch.stack([words[first], model.tagger.relations.weight[label], *(words[i] for i in rest)])
        with torch.no_grad():
            h = model.tagger.encoder(inputs_embeds=sequence[None]).last_hidden_state[0]
        yield np.delete(h.numpy(), 1, axis=0)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_stage_two_is_trained_by_the_entities_given_the_gold_relation(encoder):
    model, batch = herberta(ENCODERS[encoder]), tiny_batch()
    output = model(**batch)
    W = arrays(model)["tagger.heads.positions.weight"]
    gold = batch["positions_T4"].numpy()
    expected = [entity_terms(h @ W.T, g) for h, g in zip(states_one_by_one(model, batch), gold, strict=True)]
    np.testing.assert_allclose(output.terms_BN[:, :4].detach(), expected, atol=1e-10)
    np.testing.assert_allclose(output.loss_B.detach(), ALPHA / 2 * np.sum(expected, axis=1), atol=1e-10)
    assert not output.terms_BN[:, 4].any()


def test_gradient_of_the_tagger_s_own_parts():
    model, batch = herberta(partial(bert, hidden_size=4)), tiny_batch(lengths=(6, 5))
    model(**batch).loss_B.sum().backward()
    names = ("tagger.relations.weight", "tagger.heads.positions.weight")
    trained = {name: model.get_parameter(name) for name in names}

    def total(weights):
        changed = {name: torch.from_numpy(weights[name]) for name in trained}
        with torch.no_grad():
            return torch.func.functional_call(model, changed, kwargs=batch).loss_B.sum().item()

    weights = {name: parameter.detach().numpy().copy() for name, parameter in trained.items()}
    for name, gradient in numeric_gradients(total, weights, trained).items():
        np.testing.assert_allclose(trained[name].grad, gradient, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("ordered_spans", [True, False])
def test_in_use_the_second_encoder_is_given_what_the_first_one_predicts(ordered_spans):
    model, batch = herberta(ordered_spans=ordered_spans), tiny_batch(lengths=(9, 6, 12, 5, 7, 8), seed=3)
    output = model(**without_gold(batch))
    with torch.no_grad():
        _, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
        mask_BU = torch.tensor(model.config.label_mask)[batch["languages_B"]].bool()
        p_BU = model.relation(pooled_BD).masked_fill(~mask_BU, -torch.inf).softmax(dim=1)
        logits_BM4 = model.tagger(batch["token_ids_BM"], batch["mask_BM"], p_BU.argmax(dim=1))
    positions_B4, entities_B = best_spans(logits_BM4, ordered_spans)
    assert torch.equal(output.relation_F, p_BU.argmax(dim=1)) and torch.equal(output.positions_F4, positions_B4)
    torch.testing.assert_close(output.relation_probability_F, p_BU.amax(dim=1))
    torch.testing.assert_close(output.score_F, p_BU.amax(dim=1) * entities_B)


def test_label_mask_decides_also_what_the_second_encoder_is_given():
    batch = without_gold(tiny_batch())
    free, masked = herberta(label_mask=[[1] * 4] * 3), herberta(label_mask=[[0, 0, 0, 1]] * 3)
    assert masked(**batch).relation_F.tolist() == [3] * 4 != free(**batch).relation_F.tolist()
    logits_BM4 = masked.tagger(batch["token_ids_BM"], batch["mask_BM"], torch.full((4,), 3))
    assert torch.equal(masked(**batch).positions_F4, best_spans(logits_BM4, True)[0])


def test_after_stage_one_no_triple_is_found():
    model = herberta(stage=1)
    output = model(**without_gold(tiny_batch()))
    assert not model.finds_entities and (output.positions_F4 == -1).all() and not output.score_F.any()
    assert (output.relation_probability_F > 0).all()
    assert herberta().finds_entities and tiny_model().finds_entities


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_more_changes_nothing(encoder):
    model = herberta(ENCODERS[encoder])
    narrow, wide = tiny_batch(), tiny_batch()
    for name in ("token_ids_BM", "mask_BM"):
        wide[name] = torch.nn.functional.pad(wide[name], (0, 5))
    torch.testing.assert_close(model(**narrow).loss_B, model(**wide).loss_B)
    ours, theirs = (model(**without_gold(batch)) for batch in (narrow, wide))
    assert torch.equal(ours.positions_F4, theirs.positions_F4)


def test_each_stage_trains_its_own_encoder_and_no_other():
    one = herberta(stage=1)
    assert {n for n, p in one.named_parameters() if p.requires_grad} == set(dict(one.named_parameters()))
    first = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    two = one
    two.begin_stage_two(bert())
    trained = {n for n, p in two.named_parameters() if p.requires_grad}
    assert trained == set(two.trainable_names(2)) == {n for n in two.state_dict() if n.startswith("tagger.")}
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in first.items())
    two.train()(**tiny_batch()).loss_B.sum().backward()
    for name, parameter in two.named_parameters():
        assert (parameter.grad is not None) == (name in trained), name
    assert two.tagger.training and not two.encoder.training
    with pytest.raises(AssertionError):
        two.begin_stage_two(bert())


def test_the_second_encoder_starts_from_the_weights_that_it_is_given():
    given = bert()
    model = herberta(stage=1)
    model.begin_stage_two(given, alpha=3.0)
    assert model.config.alpha == 3.0
    for name, tensor in bert_without_pooler_state(given).items():
        assert torch.equal(model.tagger.encoder.state_dict()[name], tensor.double()), name
    assert not any("pooler" in name for name in model.tagger.state_dict())


def bert_without_pooler_state(model):
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("pooler.")}


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_saved_model_is_the_same_when_loaded(encoder, stage, tmp_path):
    model, batch = herberta(ENCODERS[encoder], stage), tiny_batch()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, HerbertaModel) and isinstance(AutoModel.from_pretrained(tmp_path), HerbertaModel)
    assert again.config.to_diff_dict() == model.config.to_diff_dict()
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert torch.equal(again(**batch).loss_B, model(**batch).loss_B)
    ours, theirs = model(**without_gold(batch)), again(**without_gold(batch))
    assert torch.equal(ours.relation_F, theirs.relation_F) and torch.equal(ours.positions_F4, theirs.positions_F4)


def test_loading_takes_the_class_from_the_folder(tmp_path):
    tiny_model().save_pretrained(tmp_path / "mere")
    assert isinstance(load_model(tmp_path / "mere"), MereModel)
    bert().save_pretrained(tmp_path / "bert")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text('{"model_type": "me')
    for folder in ("bert", "cut", "nowhere"):
        with pytest.raises(UserError, match="pass a folder saved by mere-ds"):
            load_model(tmp_path / folder)
