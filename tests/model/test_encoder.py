import numpy as np
import pytest
import torch
from transformers import AutoModel

from mere_ds.errors import UserError
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.mere import MereModel
from tests.model.samples import ENCODERS, bert, bert_without_pooler, distilbert, tiny_batch, tiny_config, tiny_model


@pytest.mark.parametrize("name", ENCODERS)
def test_equations_2_and_3(name):
    """h is the encoder's last layer; h_p = tanh(W h_1 + b) with the weights of the pooler in use."""
    model, batch = tiny_model(ENCODERS[name]), tiny_batch()
    encoder = model.encoder.model
    h_BMD, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
    expected = encoder(batch["token_ids_BM"], attention_mask=batch["mask_BM"].long()).last_hidden_state
    torch.testing.assert_close(h_BMD, expected, rtol=0, atol=1e-12)
    own = name in ("bert", "xlm_roberta")
    dense = encoder.pooler.dense if own else model.encoder.pooler
    first, W, b = (x.detach().numpy() for x in (h_BMD[:, 0], dense.weight, dense.bias))
    np.testing.assert_allclose(pooled_BD.detach(), np.tanh(first @ W.T + b), atol=1e-12)
    np.testing.assert_allclose(
        model.relation(pooled_BD).detach(), pooled_BD.detach().numpy() @ model.relation.weight.detach().numpy().T
    )


@pytest.mark.parametrize("name, kind", [("bert", "encoder"), ("no_pooler", "new"), ("distilbert", "new")])
def test_auto_takes_the_encoder_s_pooler_where_there_is_one(name, kind):
    assert tiny_model(ENCODERS[name]).config.pooler == kind


def test_a_new_pooler_replaces_the_encoder_s_own():
    model = tiny_model(bert, pooler="new")
    assert model.encoder.model.pooler is None
    assert model.encoder.pooler.weight.abs().mean() > 0


@pytest.mark.parametrize("name", ["bert", "no_pooler"])
def test_the_mean_of_the_real_tokens(name):
    model, batch = tiny_model(ENCODERS[name], pooler="mean"), tiny_batch()
    h_BMD, pooled_BD = model.encoder(batch["token_ids_BM"], batch["mask_BM"])
    for h_MD, real_M, pooled_D in zip(*(x.detach().numpy() for x in (h_BMD, batch["mask_BM"], pooled_BD)), strict=True):
        np.testing.assert_allclose(pooled_D, h_MD[real_M].mean(axis=0), atol=1e-12)
    assert getattr(model.encoder.model, "pooler", None) is None and model.encoder.pooler is None  # no weights unused
    empty_BD = model.encoder(batch["token_ids_BM"], torch.zeros_like(batch["mask_BM"]))[1]
    assert torch.isfinite(empty_BD).all()


def test_the_encoder_s_own_pooler_must_be_there():
    with pytest.raises(UserError, match="pooler"):
        CrossLingualEncoder(distilbert(), "encoder")


def test_pooler_missing_in_a_checkpoint_is_initialised(tmp_path):
    """As in e5-small: AutoModel adds the pooler on loading, from memory that nothing has written yet."""
    torch.manual_seed(1)
    bert_without_pooler(hidden_size=64).save_pretrained(tmp_path)
    model = MereModel.from_encoder(AutoModel.from_pretrained(tmp_path), tiny_config())
    dense = model.encoder.model.pooler.dense
    assert model.config.pooler == "encoder"
    assert 0.015 < dense.weight.std() < 0.025 and abs(dense.weight.mean()) < 0.002
    assert not dense.bias.any()


def test_given_weights_stay_and_new_ones_follow_the_seed():
    encoder = bert()
    encoder.resize_token_embeddings(43)
    encoder.pooler.dense = torch.nn.Linear(8, 8)  # one that transformers has not marked as initialised
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.5)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    models = []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(MereModel.from_encoder(encoder, tiny_config(bottleneck=300)))
        models[-1].begin_stage_two()
    for name, tensor in models[0].encoder.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other), name
    assert 0.018 < models[0].switcher.groups[0][0].up_GDb.std() < 0.022
    assert models[0].aggregator.norm.weight.eq(1).all() and models[0].switcher.groups[1][1].scale_G1D.eq(1).all()
    assert models[0].config.encoder_config["vocab_size"] == 43


def test_new_parts_take_the_encoder_s_dtype():
    model = MereModel.from_encoder(bert().to(torch.bfloat16), tiny_config())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
