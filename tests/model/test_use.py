"""Models in use are those that training saved: same triples, same refusals, without transformers where it can be."""

import copy
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mere_ds.backends.loading import load_backend
from mere_ds.errors import UserError
from mere_ds.model import rows
from mere_ds.model.mere import MereModel
from mere_ds.model.packing import PackedLinear, PackedSwitcher, pack
from mere_ds.model.plain_bert import BertShape
from mere_ds.model.switcher import LanguageSwitcher, Switcher
from mere_ds.model.use import UsedMere, load_for_use
from mere_ds.sums import write_sums
from tests.model.samples import ENCODERS, bert, tiny_batch, tiny_model, without_gold
from tests.small_model import leave_run

KINDS = {
    "stage 1": {},
    "stage 2": {"stage": 2},
    "one sub-module a language": {"stage": 2, "routing": "language"},
    "LA as printed": {"stage": 2, "la_residual": False},
    "no LA, mean": {"use_la": False, "pooler": "mean"},
    "states": {"entity_heads": "states", "characters": 3},
    "many": {"stage": 2, "triples": "many", "pairing": 6, "least_score": 0.1, "characters": 3},
    "many, states": {"stage": 2, "triples": "many", "pairing": 6, "least_score": 0.1, "entity_heads": "states"},
}


def saved(folder, encoder=bert, **choices):
    """A folder with a model in fp32, and the model as transformers loads it."""
    own = {name: choices.pop(name) for name in ("stage", "routing") if name in choices}
    stage = own.pop("stage", 1)
    model = tiny_model(encoder, **choices)
    if stage == 2:
        model.begin_stage_two(**own)
        with torch.no_grad():
            for parameter in model.switcher.parameters():
                parameter.normal_(std=0.3)
    model.float().save_pretrained(folder)
    return MereModel.from_pretrained(folder).eval()


@torch.no_grad()
def both(used, trained):
    batch = without_gold(tiny_batch(lengths=(9, 6, 12, 5, 4)))
    return used(**batch), trained(**batch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_use_finds_the_same(kind, tmp_path):
    trained = saved(tmp_path, **KINDS[kind])
    used = load_for_use(tmp_path, "fp32")
    assert isinstance(used, UsedMere)
    found, expected = both(used, trained)
    for name in found._fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert len(found.score_F) > 0


@torch.no_grad()
@pytest.mark.parametrize("kind", ["stage 2", "no LA, mean", "many"])
@pytest.mark.parametrize("lengths", [(16, 16), (32, 4, 7), (5,), (5, 5), (17, 16, 4), (15, 15, 15), (30, 4) * 40])
def test_sentences_of_any_length_are_found_as_if_each_were_alone(lengths, kind, tmp_path, monkeypatch):
    trained = saved(tmp_path, **KINDS[kind])
    used = load_for_use(tmp_path, "fp32").cpu()
    attend, keys, counted = rows.scaled_dot_product_attention, [], []
    monkeypatch.setattr(
        rows,
        "scaled_dot_product_attention",
        lambda q, k, v, **mask: keys.append(k.shape[2]) or attend(q, k, v, **mask),
    )
    used.encoder.model.layers[0].qkv.register_forward_hook(lambda _, given, made: counted.append(len(made)))
    batch = without_gold(tiny_batch(lengths=lengths))
    found = used(**batch)
    assert keys and not [K for K in keys if K % 16], "whole vectors of exponentials"
    assert counted and all(count == rows.row_count(count) for count in counted), "few numbers of rows"
    assert max(counted) <= rows.ROWS_AT_ONCE
    for i, length in enumerate(lengths):
        alone = trained(**{name: x[i : i + 1] if x.ndim == 1 else x[i : i + 1, :length] for name, x in batch.items()})
        its = found.sentence_F == i
        for name in ("relation_F", "positions_F4", "score_F", "cuts_F4"):
            torch.testing.assert_close(getattr(found, name)[its], getattr(alone, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_without_a_plain_twin_are_those_of_transformers(encoder, tmp_path):
    trained = saved(tmp_path, ENCODERS[encoder], stage=2)
    used = load_for_use(tmp_path, "fp32")
    assert isinstance(used, UsedMere) == (encoder != "distilbert")
    found, expected = both(used, trained)
    assert torch.equal(found.positions_F4, expected.positions_F4)
    torch.testing.assert_close(found.score_F, expected.score_F)


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}, {"is_decoder": True}, {"vocab_size": "many"}],
)
def test_other_shapes_are_left_to_transformers(change):
    config = bert().config.to_dict()
    assert BertShape.of(config)
    assert BertShape.of(config | change) is None
    assert BertShape.of({"model_type": "bert"}) is None


def test_16_bits_halve_the_weights_and_hardly_change_scores(tmp_path):
    trained = saved(tmp_path, stage=2)
    used = load_for_use(tmp_path, "bf16")
    assert used.relation.weight.dtype == torch.bfloat16
    found, expected = both(used, trained)
    assert found.score_F.dtype == torch.float32
    close = (found.score_F - expected.score_F).abs() < 0.1
    assert close.float().mean() >= 0.8


def test_packed_matrices_multiply_as_others(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.Linear(512, 256, bias=False), nn.Linear(256, 3)).bfloat16()
    whole = copy.deepcopy(model)
    pack(model)
    assert [type(part) for part in model] == [PackedLinear, PackedLinear, nn.Linear]
    for x in (torch.randn(7, 5, 256), torch.randn(3, 9, 256)[:, 0], torch.randn(1, 256)):
        with torch.no_grad():
            torch.testing.assert_close(model(x.bfloat16()), whole(x.bfloat16()), rtol=0.02, atol=0.02)
    in_fp32 = nn.Sequential(nn.Linear(256, 512))
    pack(in_fp32)
    assert type(in_fp32[0]) is nn.Linear


@torch.no_grad()
@pytest.mark.parametrize("routing", ["learned", "language"])
def test_a_packed_switcher_switches_as_others(routing):
    torch.manual_seed(0)
    D, b = 256, 320
    whole = Switcher(3, D, b, [1, 2, 1], True) if routing == "learned" else LanguageSwitcher(3, D, b, 2)
    for parameter in whole.parameters():
        parameter.normal_(std=0.05)
    model = nn.Sequential(whole.bfloat16())
    pack(model)
    packed = model[0]
    assert isinstance(packed, PackedSwitcher)
    for languages in ([0, 0, 0], [2, 0, 1, 0] * 9, [1]):
        h_BMD, languages_B = torch.randn(len(languages), 5, D).bfloat16(), torch.tensor(languages)
        for k in (1, 2, 3) if routing == "learned" else (1,):
            ours, theirs = packed(h_BMD, languages_B, k), whole(h_BMD, languages_B, k)
            assert ours.dtype == torch.bfloat16
            torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.002)
    with pytest.raises(UserError, match="k must be"):
        packed(h_BMD, languages_B, 9)
    assert routing == "language" or torch.equal(packed.probabilities(), whole.probabilities())


def test_a_precision_that_the_device_lacks_is_refused(tmp_path):
    saved(tmp_path)
    if torch.cuda.is_available():
        pytest.skip("GPUs have fp16")
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        load_for_use(tmp_path, "fp16")


def test_a_damaged_or_unfit_model_is_refused_as_in_training(tmp_path):
    folder = leave_run(tmp_path / "run")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="model.safetensors does not match its sha256"):
        load_backend(folder)
    tensors = load_file(weights)
    save_file(tensors | {"relation.weight": tensors["relation.weight"] * torch.inf}, weights)
    write_sums_again(folder)
    with pytest.raises(UserError, match="relation.weight contains numbers that aren't finite"):
        load_backend(folder)
    save_file({name: tensor for name, tensor in tensors.items() if name != "relation.weight"}, weights)
    write_sums_again(folder)
    with pytest.raises(UserError, match="missing_keys: relation.weight"):
        load_backend(folder)


def test_a_configuration_out_of_bounds_is_refused_as_in_training(tmp_path):
    saved(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"label_mask": [[1]]}))
    with pytest.raises(UserError, match="label_mask must have a row of 4"):
        load_for_use(tmp_path)
    path.write_text(json.dumps(config | {"max_length": 41}))
    with pytest.raises(UserError, match="the model's encoder takes at most 40"):
        load_for_use(tmp_path)


def test_using_a_model_loads_neither_transformers_nor_a_compiler(tmp_path):
    folder = shutil.copytree(leave_run(tmp_path / "run"), tmp_path / "copy")
    code = (
        "import sys; from mere_ds.inference import Extractor; "
        f"print(len(list(Extractor.load({str(folder)!r}).extract(['Anna Berg .'], 'de')))); "
        "print(sorted({'transformers', 'torch._dynamo', 'sympy', 'deepspeed'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "1\n[]\n", said.stderr


def test_threads_of_a_model_in_use_sleep_when_they_wait_unless_told_otherwise(tmp_path):
    folder = leave_run(tmp_path / "run")
    code = f"import os; from mere_ds.backends.loading import load_backend; load_backend({str(folder)!r}, threads=1)"
    code += "; import torch; print(os.environ['OMP_WAIT_POLICY'], torch.get_num_threads())"
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert said.stdout == f"{expected} 1\n", said.stderr


def write_sums_again(folder):
    (folder / "SHA256SUMS").unlink()
    write_sums(folder)
