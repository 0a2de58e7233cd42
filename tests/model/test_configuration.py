import json

import pytest
from transformers import AutoConfig

from mere_ds.config import PRESETS
from mere_ds.errors import UserError
from mere_ds.model.configuration import MereConfig
from tests.model.samples import tiny_config

NEWER = ("routing", "entity_heads", "characters")


def test_defaults_are_the_paper_s():
    config = MereConfig(languages=["de"], labels=["a"], label_mask=[[1]], language_token_ids=[5])
    assert sorted(config.submodule_layers) == [1, 1, 1, 2, 2, 2]
    assert (config.bottleneck, config.top_k, config.alpha, config.beta, config.max_length) == (1024, 3, 2.0, 1.0, 256)


@pytest.mark.parametrize(
    "choices",
    [
        {"languages": []},
        {"languages": ["de", "de", "ko"]},
        {"labels": ["a", "a", "b", "c"]},
        {"label_mask": [[1, 1, 0, 0]]},
        {"label_mask": [[1, 1, 0]] * 3},
        {"label_mask": [[2, 1, 0, 0]] * 3},
        {"label_mask": [[0, 0, 0, 0]] * 3},
        {"language_token_ids": [5, 6]},
        {"language_token_ids": [5, 6, -1]},
        {"pooler": "median"},
        {"max_length": 3},
        {"submodule_layers": []},
        {"submodule_layers": [1, 0]},
        {"bottleneck": 0},
        {"top_k": 0},
        {"top_k": 4},
        {"alpha": -1.0},
        {"stage": 3},
        {"stage": 2, "use_ls": False},
        {"routing": "random"},
        {"routing": "language", "submodule_layers": []},
        {"entity_heads": "none"},
        {"characters": 0},
        {"languages": None},
        {"labels": -1},
        {"labels": [1, 2, 3, 4]},
        {"label_mask": None},
        {"label_mask": [1, 1, 1]},
        {"label_mask": [[True] * 4] * 3},
        {"language_token_ids": [5, 6, 0.5]},
        {"language_token_ids": [5, 6, 10**30]},
        {"max_length": None},
        {"max_length": 10**9},
        {"top_k": "x"},
        {"submodule_layers": [1, 10**9]},
        {"submodule_layers": -1, "routing": "language"},
        {"bottleneck": 8.0},
        {"bottleneck": 10**9},
        {"alpha": []},
        {"beta": float("nan")},
        {"ordered_spans": 1},
        {"characters": "x"},
        {"encoder_config": []},
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused_in_one_line(choices):
    with pytest.raises(UserError) as caught:
        tiny_config(**choices)
    assert "\n" not in str(caught.value)


def test_encoder_config_is_needed_to_make_the_encoder():
    with pytest.raises(UserError, match="model_type"):
        tiny_config().make_encoder_config()


def test_json_round_trip(tmp_path):
    config = tiny_config(encoder_config={"model_type": "bert", "hidden_size": 8}, stage=2, alpha=1.5)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, MereConfig)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert again.make_encoder_config().hidden_size == 8


def test_defaults_are_written_down_and_paths_are_not(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    MereConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["beta"] == 1.0
    assert str(tmp_path) not in text


def test_two_hundred_languages(tmp_path):
    languages = [f"x{n}" for n in range(200)]
    config = MereConfig(
        languages=languages, labels=["a", "b"], label_mask=[[1, 1]] * 200, language_token_ids=list(range(200))
    )
    config.save_pretrained(tmp_path)
    assert MereConfig.from_pretrained(tmp_path).languages == languages


def test_presets_are_the_systems_of_table_2():
    made = {name: tiny_config(**choices) for name, choices in PRESETS.items() if name != "HERBERTa"}
    parts = {name: (c.use_la, c.use_ls, c.routing, c.entity_heads) for name, c in made.items()}
    assert parts == {
        "mERE": (True, True, "learned", "relation"),
        "mERE14": (True, True, "language", "relation"),
        "mERE-LS": (True, False, "learned", "relation"),
        "mERE-LS-LA": (False, False, "learned", "relation"),
        "mBERT": (False, False, "learned", "states"),
        "MTMB": (False, False, "learned", "states"),
    }


def test_routing_by_language_gives_each_one_sub_module_as_deep_as_the_deepest():
    config = tiny_config(routing="language", submodule_layers=[1, 1, 1, 2, 1], top_k=3)
    assert (config.submodule_layers, config.top_k, config.most_k) == ([2, 2, 2], 1, 1)


def test_a_folder_of_before_has_the_choices_of_before(tmp_path):
    """config.json written when there was a learned router and eq. 9 only."""
    tiny_config(stage=2).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    older = {key: value for key, value in json.loads(path.read_text()).items() if key not in NEWER}
    path.write_text(json.dumps(older))
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == tiny_config(stage=2).to_diff_dict()
