"""What runs on disk were started with: their ingredients and models are made of the same names and values today.

A name that changes here would refuse to resume every run from before. A new knob adds a line.
"""

import inspect
import json
from types import SimpleNamespace

import pytest

from mere_ds.cli import pretrain_mtmb
from mere_ds.config import PRESETS, TrainConfig
from mere_ds.knobs import deciding
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.runs.resume import ingredients
from mere_ds.train import train
from mere_ds.training.deepspeed_config import merge
from mere_ds.training.stages import model_config

GIVEN = {
    **{"shards": "s", "run": "r", "deepspeed_config": "d", "languages": "de,en", "encoder_weights": "w"},
    **{"batch_size": 4, "accumulation": 3, "concatenate": 4, "concatenate_stage_two": 2, "epochs": 7},
    **{"epochs_stage_two": 9, "patience": 3, "max_steps": 11, "learning_rate": 1e-3, "learning_rate_stage_two": 2e-3},
    **{"new_parts_rate": 4.0, "weight_decay": 0.2, "schedule": "constant", "warmup": 0.1, "word_dropout": 0.3},
    **{"alpha": 1.5, "beta": 0.5, "submodule_layers": (1, 3), "bottleneck": 12, "top_k": 2, "renormalise_top_k": False},
    **{"pooler": "mean", "la_residual": False, "ordered_spans": False, "overlapping_spans": True, "seed": 5},
    **{"pairing": 16, "negative_relations": 3, "language_temperature": 2.0, "embedding_rows": "touched"},
    **{
        "best_by": "pooled",
        "eval_steps": 4,
        "compile": True,
        "window": 8,
        "fused": "torch",
        "keep": 3,
        "timeout": 9,
        "save_steps": 2,
    },
}
"""A value of its own for each knob that decides anything."""

OF_BOTH = {
    **{"--languages": "de,en", "--max_steps": 11, "--learning_rate": 1e-3, "--new_parts_rate": 4.0},
    **{"--weight_decay": 0.2, "--schedule": "constant", "--warmup": 0.1, "--word_dropout": 0.3, "--alpha": 1.5},
    **{"--beta": 0.5, "--pooler": "mean", "--la_residual": False, "--characters": None, "--ordered_spans": False},
    **{"--pairing": 16, "--negative_relations": 3, "--language_temperature": 2.0},
    **{
        "--eval_steps": 4,
        "--overlapping_spans": True,
        "--seed": 5,
        "--best_by": "pooled",
        "--compile": True,
        "--window": 8,
    },
    **{"global batch": 24, "data (sha256 of manifest.json)": "data", "stage one's model (sha256)": "one"},
    **{
        "--encoder_weights (sha256)": "weights",
        "--start (sha256)": "start",
        "optimizer": "Adam",
        "optimizer's betas": [0.8, 0.9],
    },
    **{"precision": "bf16", "gradient_clipping": 2.0},
}
OF_STAGE_ONE = {"--concatenate": 4, "--epochs": 7, "--embedding_rows": "touched"}
OF_STAGE_TWO = {
    **{"--concatenate_stage_two": 2, "--epochs_stage_two": 9, "--patience": 3, "--learning_rate_stage_two": 2e-3},
    **{"--submodule_layers": [1, 3], "--bottleneck": 12, "--top_k": 2, "--renormalise_top_k": False},
}
DEEPSPEED = {
    "optimizer": {"type": "Adam", "params": {"betas": [0.8, 0.9]}},
    "bf16": {"enabled": True},
    "gradient_clipping": 2.0,
}

EVERY_MODEL = {"pooler": "mean", "alpha": 1.5, "beta": 0.5, "ordered_spans": False, "overlapping_spans": True}
MERE = EVERY_MODEL | {
    **{"use_la": True, "la_residual": False, "use_ls": True, "routing": "learned", "submodule_layers": [1, 3]},
    **{"bottleneck": 12, "top_k": 2, "renormalise_top_k": False, "entity_heads": "relation", "characters": 6},
    **{"triples": "one", "pairing": 16, "negative_relations": 3},
}
MODELS = {
    "mERE": MERE,
    "mERE14": MERE | {"routing": "language", "submodule_layers": [3, 3, 3], "top_k": 1},
    "mERE-LS": MERE | {"use_ls": False},
    "mERE-LS-LA": MERE | {"use_ls": False, "use_la": False},
    "HERBERTa": EVERY_MODEL | {"top_k": 1},
    "mBERT": MERE | {"use_ls": False, "use_la": False, "entity_heads": "states"},
    "MTMB": MERE | {"use_ls": False, "use_la": False, "entity_heads": "states"},
}

FLAGS = (
    "shards run deepspeed_config stage system languages stage_one_run encoder triples encoder_weights start "
    "batch_size accumulation concatenate concatenate_stage_two epochs epochs_stage_two patience max_steps "
    "learning_rate learning_rate_stage_two new_parts_rate weight_decay schedule embedding_rows warmup word_dropout "
    "alpha beta submodule_layers bottleneck top_k renormalise_top_k pooler la_residual pairing negative_relations "
    "characters ordered_spans overlapping_spans seed best_by eval_steps language_temperature fused compile window "
    "shard_cache shard_cache_gib log_every report_to peak_tflops profile feature_cache feature_cache_gib "
    "keep_features prefetch save_minutes save_steps keep timeout on_nonfinite nonfinite_limit overwrite dry_run"
)
PRETRAIN_FLAGS = (
    "tsv_dir out encoder languages english cut_marks parallel_ids epochs steps batch_size learning_rate warmup "
    "weight_decay max_length blank mask seed save_steps log_every overwrite "
    "format lang split map offsets end ambiguous cut"
)

PRETRAIN = {
    **{"encoder": "bert-base-multilingual-cased", "languages": "all", "english": "auto", "cut_marks": "repair"},
    **{"parallel_ids": False, "epochs": 1, "steps": None, "batch_size": 32, "learning_rate": 3e-5, "warmup": 0.06},
    **{"weight_decay": 0.01, "max_length": 256, "blank": 0.7, "mask": 0.15, "seed": 0},
}


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("system", PRESETS)
def test_ingredients_have_the_names_and_values_of_runs_on_disk(system, stage):
    ds, config = merge(DEEPSPEED, TrainConfig(**GIVEN, system=system), frozenset(GIVEN), ranks=2)
    made = json.loads(json.dumps(ingredients(config, ds, stage, "data", "one", "weights", "start")))
    of_stage = OF_STAGE_TWO if stage == 2 and system != "HERBERTa" else OF_STAGE_ONE
    assert made == {"--system": system} | OF_BOTH | of_stage


@pytest.mark.parametrize("system", PRESETS)
def test_models_have_the_fields_of_saved_ones(system):
    symbols = {"de": 5, "en": 6, "ko": 7}
    manifest = SimpleNamespace(
        languages=list(symbols),
        labels=["a"],
        label_mask=[[1]] * 3,
        max_length=20,
        cuts=True,
        triples="one",
        encoder=SimpleNamespace(language_token_ids=symbols, max_length=30),
    )
    characters = {} if system == "HERBERTa" else {"characters": 6}
    made = model_config(TrainConfig(**GIVEN | characters, system=system), manifest).to_dict()
    ours = set(MERE) & set(made)
    assert {name: made[name] for name in ours} == MODELS[system]


def test_flags_have_the_names_of_before():
    for command, names in ((train, FLAGS), (pretrain_mtmb, PRETRAIN_FLAGS)):
        assert list(inspect.signature(command).parameters) == names.split()
        helped = (command.__doc__ or "").split("Args:\n")[1].strip().splitlines()
        assert [line.split(":")[0].strip() for line in helped] == names.split()


def test_a_pretraining_on_disk_records_what_today_s_defaults_give():
    defaults = {
        name: p.default for name, p in inspect.signature(pretrain_mtmb).parameters.items() if p.default is not p.empty
    }
    made = deciding(PretrainSettings(tsv_dir="t", out="o", **defaults))
    assert json.loads(json.dumps(made)) == PRETRAIN
