"""What each stage changes, and what a folder keeps."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, MobileBertConfig, MobileBertModel

from mere_ds.errors import UserError
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from tests.model.samples import ENCODERS, VOCABULARY, bert, tiny_batch, tiny_config, tiny_model, without_gold

STAGE_TWO = (
    "switcher.languages.weight",  # E_l
    "switcher.router.weight",  # W_f
    "switcher.groups.",
    "relation.weight",  # W^r
    "heads.token_half.weight",  # the four W_y, in two halves
    "heads.relation_half.weight",
    "heads.index_4D",  # the four U_y
    "cuts.",
)


def bits(model):
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


def train_a_little(model, batch):
    """Three steps of AdamW with the paper's weight decay, which changes also what has a zero gradient."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch, concatenate=2).loss_B.mean().backward()
        optimizer.step()


@pytest.mark.parametrize("characters", [None, 5])
def test_stage_two_changes_exactly_what_it_may(characters):
    model = tiny_model(stage=2, characters=characters)
    before = bits(model)
    train_a_little(model, tiny_batch())
    changed = {name for name, value in bits(model).items() if value != before[name]}
    assert changed == {name for name in before if name.startswith(STAGE_TWO)}
    assert changed == set(model.trainable_names(2)) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_stage_one_trains_all_and_has_no_switcher_yet():
    model = tiny_model()
    before = bits(model)
    train_a_little(model, tiny_batch())
    changed = {name for name, value in bits(model).items() if value != before[name]}
    assert changed == set(model.trainable_names(1)) == set(before)
    assert model.switcher is None


def test_the_language_table_starts_from_the_symbols_embeddings():
    model = tiny_model()
    before = bits(model)
    model.begin_stage_two()
    words_VD = model.get_input_embeddings().weight
    assert torch.equal(model.switcher.languages.weight, words_VD[[5, 6, 7]])
    after = bits(model)
    assert {name for name in after if after[name] != before.get(name)} == {
        n for n in after if n.startswith("switcher.")
    }
    assert model.config.stage == 2


@pytest.mark.parametrize("choices", [{}, {"routing": "language"}], ids=["mERE", "mERE14"])
def test_a_fresh_switcher_leaves_what_stage_one_s_heads_are_used_to(choices):
    model, batch = tiny_model(), tiny_batch()
    with torch.no_grad():
        model.aggregator.norm.weight.fill_(1.5)
        model.aggregator.norm.bias.fill_(-0.25)
    before = model(**batch).terms_BN
    model.begin_stage_two(**choices)
    torch.testing.assert_close(model(**batch).terms_BN, before, rtol=1e-3, atol=1e-4)


def test_the_switcher_can_be_chosen_anew_for_stage_two():
    model = tiny_model()
    model.begin_stage_two(submodule_layers=[3, 1, 1, 1], bottleneck=12, top_k=4)
    assert (model.switcher.T, model.config.bottleneck, model.config.top_k) == (4, 12, 4)
    assert [len(group) for group in model.switcher.groups] == [1, 3]
    model(**tiny_batch())
    with pytest.raises(UserError, match="top_k"):
        tiny_model().begin_stage_two(submodule_layers=[1], top_k=2)


def test_the_frozen_part_has_no_dropout_and_no_graph():
    model, batch = tiny_model(partial(bert, hidden_dropout_prob=0.5)).train(), tiny_batch()
    assert not torch.equal(model(**batch).loss_B, model(**batch).loss_B)
    model.begin_stage_two()
    for _ in range(2):
        assert torch.equal(model(**batch).loss_B, model(**batch).loss_B)
        assert model.switcher.training and not any(m.training for m in model.encoder.modules())
        model.eval().train()
    graphs = []
    model.encoder.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    model.switcher.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    model(**batch)
    assert graphs == [False, True]


def test_stage_two_needs_a_switcher_and_comes_once():
    with pytest.raises(UserError, match="switcher"):
        tiny_model(use_ls=False).begin_stage_two()
    model = tiny_model(stage=2)
    with pytest.raises(AssertionError):
        model.begin_stage_two()


def mobilebert():
    """Its word embeddings are narrower than its output, and it has no linear map between them."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return MobileBertModel(MobileBertConfig(vocab_size=VOCABULARY, embedding_size=4, intra_bottleneck_size=4, **sizes))


def test_the_table_needs_embeddings_as_wide_as_the_encoder():
    with pytest.raises(UserError, match="have size 4"):
        MereModel.from_encoder(mobilebert(), tiny_config())  # told before stage one is trained, not after
    without = MereModel.from_encoder(mobilebert(), tiny_config(use_ls=False))
    assert without.switcher is None
    with pytest.raises(UserError, match="have size 4"):
        without.begin_stage_two(use_ls=True)


@pytest.mark.parametrize("choices", [{}, {"routing": "language"}], ids=["mERE", "mERE14"])
def test_stage_one_of_a_model_without_switcher_is_as_good_a_start(choices):
    one, other = tiny_model(), tiny_model(use_ls=False)
    for model in (one, other):
        torch.manual_seed(1)
        model.begin_stage_two(use_ls=True, **choices)
    assert bits(one) == bits(other) and one.config.to_diff_dict() == other.config.to_diff_dict()


def test_routing_by_language_needs_no_table():
    model = MereModel.from_encoder(mobilebert(), tiny_config(routing="language"))
    model.begin_stage_two()
    assert {name.split(".")[1] for name, _ in model.named_parameters() if name.startswith("switcher.")} == {"layers"}


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_saved_model_is_the_same_when_loaded(name, stage, tmp_path):
    model, batch = tiny_model(ENCODERS[name], stage), tiny_batch()
    model.save_pretrained(tmp_path)
    again = MereModel.from_pretrained(tmp_path)
    assert bits(again) == bits(model)
    assert again.config.to_diff_dict() == model.config.to_diff_dict()
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in again.parameters()), "torch's own memory, no mapped file"
    assert torch.equal(again(**batch).loss_B, model(**batch).loss_B)
    ours, theirs = model(**without_gold(batch)), again(**without_gold(batch))
    for field in ("relation_F", "positions_F4", "score_F"):
        assert torch.equal(ours[field], theirs[field])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(("name", "most"), [("bert", 40), ("xlm_roberta", 39), ("distilbert", 40)])
def test_a_model_for_longer_sentences_than_its_encoder_takes_is_refused(name, most, tmp_path):
    for folder, max_length in (("fits", most), ("longer", most + 1)):
        tiny_model(ENCODERS[name], max_length=max_length).save_pretrained(tmp_path / folder)
    assert load_model(tmp_path / "fits").config.max_length == most
    with pytest.raises(UserError, match=f"max_length {most + 1}, .* at most {most} tokens") as e:
        load_model(tmp_path / "longer")
    assert "\n" not in str(e.value)


def test_auto_model_knows_it(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert isinstance(model, MereModel)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert np.array_equal(model.label_mask_NU, model.config.label_mask)


def without_one(weights):
    del weights["heads.index_4D"]


def with_another(weights):
    weights["heads.more"] = torch.zeros(2)


def with_another_shape(weights):
    weights["heads.index_4D"] = torch.zeros(4, 9)


@pytest.mark.parametrize(
    "damage, advice",
    [
        (without_one, "missing.*index_4D"),
        (with_another, "unexpected.*more"),
        (with_another_shape, "mismatched.*index_4D"),
    ],
)
def test_weights_that_are_not_the_model_s_are_refused(damage, advice, tmp_path):
    tiny_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=advice):
        MereModel.from_pretrained(tmp_path)


def with_nan(weights):
    weights["heads.index_4D"][0, 0] = torch.nan


def with_infinity(weights):
    weights["relation.weight"][-1, -1] = -torch.inf


@pytest.mark.parametrize("damage, name", [(with_nan, "heads.index_4D"), (with_infinity, "relation.weight")])
def test_a_model_whose_weights_are_not_finite_is_refused(damage, name, tmp_path):
    tiny_model().save_pretrained(tmp_path)
    load_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{name} contains numbers that aren't finite"):
        load_model(tmp_path)


def refusal(folder):
    with pytest.raises(UserError, match="can't load a model|not a model of mere-ds") as caught:
        MereModel.from_pretrained(folder)
    return str(caught.value)


def test_unreadable_folders_are_refused_in_one_line(tmp_path):
    assert "\n" not in refusal(tmp_path)
    assert "\n" not in refusal(tmp_path / "nowhere")
    tiny_model().save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "\n" not in refusal(tmp_path)


@pytest.mark.parametrize("name, value", [("bottleneck", 12), ("top_k", None), ("encoder_config", {"model_type": "x"})])
def test_a_config_that_is_not_of_the_weights_is_one_line(tmp_path, capfd, name, value):
    tiny_model(stage=2).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(UserError) as refused:
        load_model(tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)
    assert not capfd.readouterr().err
