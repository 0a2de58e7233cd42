"""What the commands say of a run whose training goes on, and of shards that hold nothing to score."""

import json

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.encoders.sources import load_encoder, load_tokenizer
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.model.mere import MereModel
from mere_ds.sums import SUMS, write_sums
from tests.evaluation.made_up_runs import ingredients_of, make_checkpoint
from tests.model.samples import tiny_config
from tests.shards.toy_corpus import make_shards, write_corpus


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Without a single test row."""
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), sizes={"de": (60, 0), "fr": (30, 0)})
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture
def run(shards, tmp_path):
    """run(finished): a run folder with an untrained model for these shards."""

    def leave(finished: bool):
        ingredients = ingredients_of(1, shards.sha256, system="mERE-LS")
        folder = make_checkpoint(tmp_path / "run", 1, ingredients, finished=finished)
        languages = shards.languages
        config = tiny_config(
            languages=languages,
            labels=shards.labels,
            label_mask=[[1] * len(shards.labels)] * len(languages),
            language_token_ids=[shards.encoder.language_token_ids[language] for language in languages],
            submodule_layers=[1],
            top_k=1,
            max_length=shards.max_length,
        )
        MereModel.from_encoder(load_encoder(shards.encoder_folder, shards.encoder), config).save_pretrained(folder)
        save_tokenizer(load_tokenizer(shards.encoder_folder), folder)
        (folder / SUMS).unlink()
        write_sums(folder)
        return tmp_path / "run"

    return leave


@pytest.mark.parametrize("finished", [True, False])
def test_answers_of_an_unfinished_stage_say_so(run, finished, capsys):
    folder = run(finished)
    capsys.readouterr()  # of saving the model
    flags.run(COMMANDS, ["extract", str(folder), "berlin gau dorf stein", "--lang=de"], "mere-ds")
    out, err = capsys.readouterr()
    assert json.loads(out)["lang"] == "de"
    assert err == ("" if finished else f"{folder}: stage 1 is not finished: answers are of its step 10\n")


def test_an_empty_test_set_is_refused(run, shards, capsys):
    folder = run(finished=True)
    with pytest.raises(SystemExit, match="2"):
        flags.run(COMMANDS, ["evaluate", str(folder), f"--shards={shards.source}"], "mere-ds")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "holds no test sentence of fr, de: there is nothing to score" in said
    assert not (folder / "evaluation").exists()
