"""The whole model with any number of triples: its loss, what it finds, its stages."""

import numpy as np
import pytest
import torch

from mere_ds.errors import UserError
from mere_ds.model.loading import load_model
from mere_ds.model.pair_loss import CANDIDATES
from tests.model import pair_reference
from tests.model.pair_reference import PairReference, sigmoid
from tests.model.reference import arrays
from tests.model.samples import tiny_batch, tiny_config, tiny_model, without_gold

MANY = {"triples": "many", "pairing": 3}
FORMS = {
    "mERE": {"stage": 2},
    "mERE-LS": {"use_ls": False},
    "mERE14": {"stage": 2, "routing": "language"},
    "mBERT": {"use_la": False, "use_ls": False, "entity_heads": "states"},
}
TRIPLES = [
    (0, 1, 2, 3, 4, 6),
    (0, 1, 2, 4, 4, 6),
    (0, 2, 2, 3, 4, 6),
    (2, 0, 2, 2, 3, 3),
    (2, 0, 3, 3, 2, 2),
]
"""Sentence, label and positions."""
LENGTHS = (8, 6, 7, 5)


def many_batch(lengths=LENGTHS, **choices):
    sentence_T, labels_T, *positions = torch.tensor(TRIPLES).unbind(1)
    gold = {"sentence_T": sentence_T, "labels_T": labels_T, "positions_T4": torch.stack(positions, dim=1)}
    cuts_T4 = torch.tensor([[0, 1, 2, 0], [0, 0, 0, 0], [1, 1, -1, -1], [3, 0, 9, 0], [0, 0, 0, 2]])
    return {**tiny_batch(lengths, **choices), **gold, "cuts_T4": cuts_T4}


def head_weights(model):
    weights = arrays(model)
    return {name.removeprefix("heads."): weight for name, weight in weights.items() if name.startswith("heads.")}


@torch.no_grad()
def states_and_relations(model, batch, s=1, k=None):
    """The heads' input of each sentence without padding, and the relations' logits."""
    h_BMD, pooled_BD = model.unify(batch["token_ids_BM"], batch["mask_BM"], s)
    if model.config.stage == 2:
        h_BMD = model.switcher(h_BMD, batch["languages_B"], k or model.config.most_k)
    states = [h[mask].numpy() for h, mask in zip(h_BMD, batch["mask_BM"], strict=True)]
    return states, pooled_BD.numpy() @ arrays(model)["relation.weight"].T


def allowed_of(model, batch):
    return [np.flatnonzero(model.config.label_mask[n]).tolist() for n in batch["languages_B"].tolist()]


@pytest.mark.parametrize("name", FORMS)
def test_loss_is_that_of_all_gold_relations_and_of_as_many_others_as_there_are(name):
    model, batch = tiny_model(alpha=1.7, beta=0.6, negative_relations=4, **MANY, **FORMS[name]), many_batch()
    batch["languages_B"][:] = torch.tensor([2, 1, 2, 0])  # relations of the gold triples are the language's
    output = model(**batch, concatenate=2)
    states, relation_BU = states_and_relations(model, batch, s=2)
    weights, of_states = head_weights(model), model.config.entity_heads == "states"
    most = 2  # gold spans of an entity for one relation; so it is for all relations of a sentence
    for b, allowed in enumerate(allowed_of(model, batch)):
        gold = {(u, (i, j), (k, m)) for sentence, u, i, j, k, m in TRIPLES if sentence == b}
        terms = np.zeros(3)
        for label in allowed:
            links = {(head, tail) for u, head, tail in gold if u == label}
            spans = {(head, tail) for _, head, tail in gold} if of_states else links
            pair = PairReference(weights, states[b], label)
            losses = np.array(pair_reference.pair_losses(pair, spans, links, CANDIDATES + most))
            terms = [*losses[:2], terms[2] + losses[2]] if of_states else terms + losses
        labels = {u for u, *_ in gold}
        relation = sum(np.log1p(np.exp(relation_BU[b, u] * (-1 if u in labels else 1))) for u in allowed)
        np.testing.assert_allclose(output.terms_BN[b].detach(), [*terms, relation], rtol=1e-9, err_msg=f"{b}")
        loss = 1.7 / 2 * sum(terms) + 0.6 * relation
        np.testing.assert_allclose(output.loss_B[b].detach(), loss, rtol=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_found_are_the_best_triples_of_a_search_through_all(name):
    model = tiny_model(least_score=0.02, most_triples=40, spread=0.6, **MANY, **FORMS[name])
    batch = many_batch()
    output = model(**without_gold(batch))
    states, relation_BU = states_and_relations(model, batch, k=model.config.top_k)
    weights = head_weights(model)
    assert output.sentence_F.tolist() == sorted(output.sentence_F.tolist())
    for b, allowed in enumerate(allowed_of(model, batch)):
        every = {}
        for label in allowed:
            pair = PairReference(weights, states[b], label)
            for score, head, tail in pair_reference.triples(pair, sigmoid(relation_BU[b, label]), 0.02):
                every[(label, *head, *tail)] = score
        of_b = output.sentence_F == b
        found = list(zip(output.relation_F[of_b].tolist(), output.positions_F4[of_b].tolist(), strict=True))
        scores = output.score_F[of_b].detach().numpy()
        np.testing.assert_allclose(scores, sorted(every.values(), reverse=True)[:40], rtol=1e-9)
        np.testing.assert_allclose(scores, [every[(u, *positions)] for u, positions in found], rtol=1e-9)
        probabilities = [sigmoid(relation_BU[b, u]) for u, _ in found]
        np.testing.assert_allclose(output.relation_probability_F[of_b].detach(), probabilities, rtol=1e-9)
    assert len(output.sentence_F)


def test_a_sentence_is_answered_alike_alone_and_among_others():
    model, batch = tiny_model(stage=2, least_score=0.02, spread=0.6, **MANY), without_gold(many_batch(width=12))
    together = model(**batch)
    for b in range(len(LENGTHS)):
        alone = model(
            **{name: x[b : b + 1, : LENGTHS[b]] if x.dim() == 2 else x[b : b + 1] for name, x in batch.items()}
        )
        of_b = together.sentence_F == b
        assert alone.positions_F4.tolist() == together.positions_F4[of_b].tolist()
        torch.testing.assert_close(alone.score_F, together.score_F[of_b])


@pytest.mark.parametrize("negative_relations", [0, 2])
def test_same_seed_same_bits(negative_relations):
    def gradients():
        model = tiny_model(negative_relations=negative_relations, **MANY).train()
        torch.manual_seed(7)
        model(**many_batch(), concatenate=2).loss_B.sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    assert all(map(torch.equal, gradients(), gradients()))


def test_a_batch_without_any_triple_has_a_loss_and_gradients():
    model, batch = tiny_model(negative_relations=0, **MANY), many_batch()
    for name in ("sentence_T", "labels_T", "positions_T4", "cuts_T4"):
        batch[name] = batch[name][:0]
    output = model(**batch)
    output.loss_B.sum().backward()
    assert (output.terms_BN[:, :3] == 0).all() and (output.terms_BN[:, 3] > 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_characters_are_learnt_of_every_triple():
    model, batch = tiny_model(characters=4, **MANY), many_batch()
    output = model(**batch)
    assert (output.terms_BN[:, 4] > 0).tolist() == [True, False, True, False]
    alone = {name: batch[name][:1] for name in ("sentence_T", "labels_T", "positions_T4", "cuts_T4")}
    others = {name: batch[name][1:] for name in ("sentence_T", "labels_T", "positions_T4", "cuts_T4")}
    parts = [model(**{**batch, **gold}).terms_BN[:, 4] for gold in (alone, others)]
    torch.testing.assert_close(output.terms_BN[:, 4], parts[0] + parts[1])
    found = tiny_model(characters=4, least_score=0.02, spread=0.6, **MANY)(**without_gold(batch))
    assert found.cuts_F4.shape == found.positions_F4.shape and len(found.cuts_F4)


def test_stage_two_trains_what_it_trains_with_one_triple():
    names = tiny_model(stage=2, **MANY).trainable_names(2)
    heads = {name for name in names if name.startswith("heads.")}
    assert "relation.weight" in names
    assert heads == {
        *("heads.token_half.weight", "heads.relation_half.weight", "heads.index_4D", "heads.pairing_4DR", "heads.bias")
    }


@pytest.mark.parametrize("name", FORMS)
def test_a_saved_model_answers_alike(name, tmp_path):
    model = tiny_model(least_score=0.02, spread=0.6, **MANY, **FORMS[name]).float()
    model.save_pretrained(tmp_path)
    batch = without_gold(many_batch())
    mine, theirs = model(**batch), load_model(tmp_path).eval()(**batch)
    assert len(mine.score_F)
    for field in mine:
        assert torch.equal(mine[field], theirs[field]), field


@pytest.mark.parametrize(
    "wrong",
    [{"triples": "two"}, {"pairing": 0}, {"negative_relations": -1}, {"least_score": 0.0}, {"most_triples": 0}],
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        tiny_config(**wrong)
