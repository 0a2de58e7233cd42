"""A new model takes over what fits of a trained one: rows by name, the rest by name and shape."""

import pytest
import torch
from torch import nn

from mere_ds.encoders.weights import word_embeddings
from mere_ds.errors import UserError
from mere_ds.model.configuration import HerbertaConfig
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.transfer import OF_LABELS, take_over
from tests.model.samples import (
    VOCABULARY,
    bert,
    bert_without_pooler,
    distilbert,
    tiny_batch,
    tiny_config,
    tiny_model,
    without_gold,
    xlm_roberta,
)

TOKENS = {f"t{i}": i for i in range(VOCABULARY)}
WORDS = "encoder.model.embeddings.word_embeddings.weight"


def other(encoder=bert, stage=1, **choices):
    """A model of other random weights than `tiny_model`'s."""
    model = tiny_model(encoder, stage, **choices)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("encoder", [bert, bert_without_pooler, xlm_roberta, distilbert])
@pytest.mark.parametrize(
    "choices",
    [{}, {"triples": "many"}, {"characters": 3}, {"entity_heads": "states"}, {"use_la": False}, {"pooler": "mean"}],
)
def test_the_same_names_and_sizes_give_the_same_answers_bit_for_bit(encoder, choices):
    old, new = tiny_model(encoder, **choices), other(encoder, **choices)
    batch = without_gold(tiny_batch())
    transfer = take_over(new, old, TOKENS, TOKENS)
    assert not transfer.weights.new and not transfer.weights.left
    assert all(torch.equal(tensor, weights(old)[name]) for name, tensor in new.state_dict().items())
    answers, wanted = new(**batch), old(**batch)
    assert answers.keys() == wanted.keys()
    assert all(torch.equal(answers[name], wanted[name]) for name in answers)


def test_rows_go_by_the_names_of_tokens_and_labels_and_others_stay():
    old = tiny_model()
    new = other(labels=["c", "x", "a", "d"], label_mask=[[1] * 4] * 3, languages=["ko", "fr", "en"])
    before = weights(new)
    tokens = {**{f"t{i + 3}": i for i in range(VOCABULARY - 4)}, "new": VOCABULARY - 1, "beyond": VOCABULARY + 5}
    transfer = take_over(new, old, tokens, TOKENS)
    assert (transfer.labels.taken, transfer.labels.new, transfer.labels.left) == (["c", "a", "d"], ["x"], ["b"])
    assert (transfer.languages.taken, transfer.languages.new) == (["ko", "en"], ["fr"])
    assert transfer.languages.left == ["de"]
    assert transfer.tokens.new == ["new"] and transfer.tokens.left == ["t0", "t1", "t2", "t39"]
    assert len(transfer.tokens.taken) == VOCABULARY - 4 and not transfer.weights.new
    then, now = weights(old), weights(new)
    assert torch.equal(now[WORDS][:36], then[WORDS][3:39]) and torch.equal(now[WORDS][36:], before[WORDS][36:])
    for name in OF_LABELS[:2]:
        assert torch.equal(now[name][[0, 2, 3]], then[name][[2, 0, 3]])
        assert torch.equal(now[name][1], before[name][1])
    assert torch.equal(now["aggregator.qkv.weight"], then["aggregator.qkv.weight"])


@pytest.mark.parametrize("heads", ["relation", "states"])
@pytest.mark.parametrize("way", [("one", "many"), ("many", "one")])
def test_one_and_many_triples_share_what_both_have(way, heads):
    old, new = tiny_model(triples=way[0], entity_heads=heads), other(triples=way[1], entity_heads=heads)
    before = weights(new)
    transfer = take_over(new, old, TOKENS, TOKENS)
    shared = {"heads.relations.weight", "heads.token_half.weight", "heads.relation_half.weight", "heads.index_4D"}
    taken = {name for name in transfer.weights.taken if name.startswith("heads.")}
    assert taken == (shared if heads == "relation" else set())
    for name, tensor in new.state_dict().items():
        wanted = weights(old)[name] if name in transfer.weights.taken else before[name]
        assert torch.equal(tensor, wanted), name
    assert set(transfer.weights.new) == {name for name in before if name.startswith("heads.")} - taken


def test_heads_of_another_kind_are_not_taken_even_where_names_and_shapes_agree():
    old, new = tiny_model(triples="many", entity_heads="states"), other(triples="many")
    before = weights(new)
    transfer = take_over(new, old, TOKENS, TOKENS)
    assert "heads.index_4D" in transfer.weights.new and "heads.index_4D" in transfer.weights.left
    assert torch.equal(new.heads.index_4D, before["heads.index_4D"])


def test_what_only_one_model_has_is_said():
    old, new = tiny_model(stage=2, characters=3), other(use_la=False, characters=4, pooler="mean")
    transfer = take_over(new, old, TOKENS, TOKENS)
    assert set(transfer.weights.new) == {"cuts.counts_4CD", "cuts.bias"}, "of other sizes"
    left = {name.split(".")[0] for name in transfer.weights.left}
    assert left == {"encoder", "aggregator", "switcher", "cuts"}
    assert {name for name in transfer.weights.left if name.startswith("encoder.")} == {
        "encoder.model.pooler.dense.weight",
        "encoder.model.pooler.dense.bias",
    }


def test_other_systems_share_encoder_and_relations():
    config = {name: getattr(tiny_config(), name) for name in ("languages", "labels", "label_mask")}
    herberta = HerbertaModel.from_encoder(
        bert(), HerbertaConfig(**config, language_token_ids=[5, 6, 7], max_length=38)
    ).double()
    old = tiny_model()
    transfer = take_over(herberta, old, TOKENS, TOKENS)
    assert not transfer.weights.new and torch.equal(herberta.relation.weight, old.relation.weight)
    assert {name.split(".")[0] for name in transfer.weights.left} == {"aggregator", "heads"}
    back = take_over(other(), herberta, TOKENS, TOKENS)
    assert not back.weights.left


@pytest.mark.parametrize(
    ("encoder", "shown"),
    [
        (lambda **more: bert(16, **more), "hidden_size is 16, but 8 in"),
        (xlm_roberta, "model_type is xlm-roberta, but bert in"),
        (lambda **more: deeper(**more), "num_hidden_layers is 3, but 2 in"),
        (
            lambda **more: wider(**more),
            "the shape of encoder.layer.0.intermediate.dense.weight is (20, 8), but (16, 8) in",
        ),
        (lambda **more: untyped(**more), "the shape of embeddings.extra is (3,), but unknown in"),
    ],
)
def test_another_encoder_is_refused_and_nothing_is_copied(encoder, shown):
    new = other()
    before = weights(new)
    with pytest.raises(UserError) as refused:
        take_over(new, tiny_model(encoder), TOKENS, TOKENS)
    assert shown in str(refused.value) and "\n" not in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in new.state_dict().items())


def deeper(**more):
    model = bert(**more)
    model.config.num_hidden_layers = 3
    return model


def wider(**more):
    model = bert(**more)
    model.encoder.layer[0].intermediate.dense = nn.Linear(8, 20)
    model.encoder.layer[0].output.dense = nn.Linear(20, 8)
    return model


def untyped(**more):
    model = bert(**more)
    model.embeddings.extra = nn.Parameter(torch.ones(3))
    return model


def test_a_tied_copy_of_the_word_embeddings_goes_by_tokens_too():
    models = [tiny_model(), other()]
    for model in models:
        words = word_embeddings(model.encoder.model)
        model.encoder.model.again = nn.Embedding(VOCABULARY, 8, _weight=words.weight)
        model.encoder.model.again.weight = words.weight
    old, new = models
    take_over(new, old, {"t7": 0}, TOKENS)
    assert torch.equal(word_embeddings(new.encoder.model).weight[0], word_embeddings(old.encoder.model).weight[7])
