"""The command on a small corpus: it learns, its folder is an encoder, it continues after an interruption."""

import json
import signal
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import fingerprint, load_encoder, load_tokenizer, locate_weights
from mere_ds.pretraining import learner
from mere_ds.shards.writing import shard_corpus
from tests.pretraining.following import at_step, follow, refused, ruin

pytestmark = pytest.mark.slow

STEPS = 150


@pytest.fixture(scope="session")
def pretrained(pretrain, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained") / "out"
    pretrain(out=out, steps=STEPS, log_every=30, learning_rate=1e-2, blank=0.2, max_length=128)
    return out


def test_both_losses_fall(pretrained):
    board = EventAccumulator(str(pretrained / "tensorboard")).Reload()
    values = {name: [e.value for e in board.Scalars(f"pretrain/{name}")] for name in
              ("masked_words", "matching", "accuracy", "learning_rate")}  # fmt: skip
    assert all(len(series) == STEPS // 30 for series in values.values())
    assert values["masked_words"][-1] < values["masked_words"][0] - 0.3
    assert values["matching"][-1] < 0.69 < values["matching"][0]  # log 2 is the best without telling pairs apart
    assert values["accuracy"][-1] > values["accuracy"][0]


def test_the_folder_is_an_encoder_with_the_vocabulary_it_began_with(pretrained, wee):
    config, start = (json.loads((folder / "config.json").read_text()) for folder in (pretrained, wee))
    assert all(config[name] == start[name] for name in ("model_type", "vocab_size", "architectures", "hidden_size"))
    assert fingerprint(load_tokenizer(pretrained)) == fingerprint(load_tokenizer(wee))
    weights, before = (load_file(folder / "model.safetensors") for folder in (pretrained, wee))
    assert {name: x.shape for name, x in weights.items()} == {name: x.shape for name, x in before.items()}
    moved = {name for name in weights if not weights[name].equal(before[name])}
    assert moved >= {name for name in weights if not name.startswith("pooler.")}
    assert not list(pretrained.glob("*checkpoint*")) and not (pretrained / "part").exists()


def test_shards_take_the_folder(pretrained, retold, tmp_path):
    manifest = shard_corpus(retold, tmp_path / "shards", encoder=str(pretrained), languages="de,ko")
    model = load_encoder(tmp_path / "shards" / "encoder", manifest.encoder)
    trained = load_file(pretrained / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert model.get_input_embeddings().weight[: len(trained)].equal(trained)
    assert len(model.get_input_embeddings().weight) == len(trained) + 2


def test_shards_of_the_first_encoder_take_its_weights(pretrained, retold, wee, tmp_path):
    """As train.py's --encoder_weights takes them."""
    manifest = shard_corpus(retold, tmp_path / "shards", encoder=str(wee), languages="de,ko")
    model = load_encoder(tmp_path / "shards" / "encoder", manifest.encoder, weights=locate_weights(str(pretrained)))
    trained, rows_VD = load_file(pretrained / "model.safetensors"), model.get_input_embeddings().weight
    assert rows_VD[: manifest.encoder.new_token_ids[0]].equal(trained["embeddings.word_embeddings.weight"])
    name = "encoder.layer.0.output.dense.weight"
    assert model.state_dict()[name].equal(trained[name])


def test_each_start_is_recorded_beside_the_training_and_in_its_checkpoints(pretrain, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def starts():
        return [json.loads(line) for line in (out / "starts.jsonl").read_text().splitlines()]

    with monkeypatch.context() as first:
        follow(first, at_step(3, partial(signal.raise_signal, signal.SIGTERM)))
        with pytest.raises(SystemExit, match="85"):
            pretrain(out=out, steps=4)
    (start,) = starts()
    assert start["step"] == 0 and start["hardware"]["ranks"] == 1 and start["versions"]["torch"] == torch.__version__
    assert json.loads((out / "checkpoints" / "latest" / "training.json").read_text())["start"] == start
    pretrain(out=out, steps=4)
    assert starts()[:-1] == [start] and starts()[-1]["step"] == 3
    pretrain(out=out, steps=4)
    assert len(starts()) == 2, "what is finished doesn't start again"
    pretrain(out=out, steps=4, overwrite=True)
    assert [start["step"] for start in starts()] == [0], "another training's starts"


def test_what_takes_part_is_told_first(pretrain, tmp_path, capsys):
    pretrain(out=tmp_path / "out", languages="de,ko", steps=1)
    told = capsys.readouterr().out
    assert told.index("sentences: ") < told.index("entity pairs in more than one sentence: ") < told.index('"steps": 1')
    assert "(de 148, ko 84)" in told
    assert "sentences truncated to --max_length" in told and "the reader rejected" not in told
    assert "masked word head: new" in told


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_products_give_nearly_the_same(pretrain, tmp_path, monkeypatch, dtype):
    def losses(out):
        pretrain(out=out, steps=4, save_steps=2)
        told = json.loads((out / "pretraining.json").read_text())["result"]
        return [told["masked_words"], told["matching"]]

    expected = losses(tmp_path / "fp32")
    monkeypatch.setattr(learner, "compute_dtype", lambda device: dtype)
    assert losses(tmp_path / "half") == pytest.approx(expected, abs=0.05)
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert all(tensor.dtype is torch.float32 and tensor.isfinite().all() for tensor in weights.values())


def test_a_finished_folder_is_left_alone_and_another_training_is_refused(pretrain, tmp_path, capsys):
    out = tmp_path / "out"
    pretrain(out=out, steps=2)
    first, before = capsys.readouterr().out, (out / "model.safetensors").stat().st_mtime_ns
    pretrain(out=out, steps=2)
    assert capsys.readouterr().out == first and (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=out, steps=2, blank=0.5)
    refused(capsys, "blank 0.7 -> 0.5", "--overwrite")
    pretrain(out=out, steps=2, blank=0.5, overwrite=True)
    assert (out / "model.safetensors").stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("model.safetensors", how) for how in ("flip", "gone", "folder")),
        *(
            ("tokenizer.json", "loop"),
            ("tokenizer_config.json", "flip"),
            ("config.json", "gone"),
            ("SHA256SUMS", "cut"),
        ),
    ],
)
def test_a_finished_encoder_that_is_damaged_is_refused(pretrain, tmp_path, capsys, name, how):
    out = tmp_path / "out"
    pretrain(out=out, steps=1)
    capsys.readouterr()
    ruin(out / name, how)
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=out, steps=1)
    refused(capsys, f"{out} is finished but damaged", name, "--overwrite")
    pretrain(out=out, steps=1, overwrite=True)
    capsys.readouterr()
    pretrain(out=out, steps=1)


def test_an_encoder_without_digests_is_taken_with_a_warning_but_must_be_there(pretrain, tmp_path, capsys, caplog):
    """As older versions left it."""
    out = tmp_path / "out"
    pretrain(out=out, steps=1)
    (out / "SHA256SUMS").unlink()
    pretrain(out=out, steps=1)
    assert "has no SHA256SUMS" in caplog.text
    (out / "model.safetensors").unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=out, steps=1)
    refused(capsys, "model.safetensors is missing", "--overwrite")


def test_a_corpus_that_tells_of_nobody_twice_is_refused(pretrain, tmp_path, capsys):
    synthesize(tmp_path / "corpus", 60, languages="de,en", quirks=False, processes=1)
    with pytest.raises(SystemExit, match="2"):
        pretrain(corpus=tmp_path / "corpus", out=tmp_path / "out")
    refused(capsys, "0 entity pairs", "--parallel_ids")
    assert not (tmp_path / "out").exists()


def test_translations_are_matched_by_their_ids(pretrain, tmp_path, capsys):
    """Rows that agree in nothing but their ids."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for code in ("de", "en"):
        rows = [
            f"{code}-{i}\t{code}a{i}\t{code}b{i}\tr\t<e1>{code}a{i}</e1> x <e2>{code}b{i}</e2>\t{code}"
            for i in range(9)
        ]
        head = "id\tentity_1\tentity_2\tlabel\ttext\tlang"
        (corpus / f"{code}_corpora_train.tsv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        pretrain(corpus=corpus, out=tmp_path / "out", steps=1)
    pretrain(corpus=corpus, out=tmp_path / "out", steps=1, parallel_ids=True)
    assert "entity pairs in more than one sentence: 9, of these in more than one language: 9" in capsys.readouterr().out


@pytest.mark.parametrize(
    "knobs, part",
    [
        ({"batch_size": 7}, "--batch_size=7"),
        ({"steps": 0}, "--steps=0"),
        ({"blank": 1.5}, "--blank=1.5"),
        ({"max_length": 6}, "--max_length=6"),
        ({"warmup": 1}, "--warmup=1"),
        ({"seed": -1}, "--seed"),
        ({"learning_rate": 0}, "--learning_rate=0"),
        ({"learning_rate": "nan"}, "--learning_rate=nan: must be a finite number"),
        ({"weight_decay": "inf"}, "--weight_decay=inf: must be a finite number"),
        ({"save_steps": -1}, "--save_steps=-1: must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused(pretrain, tmp_path, capsys, knobs, part):
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path / "out", **knobs)
    refused(capsys, part)


def test_a_loss_that_is_not_finite_ends_it_at_once_and_nothing_is_saved(pretrain, tmp_path, capsys):
    """Such a rate makes the second step's loss NaN."""
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path / "out", steps=3, save_steps=2, log_every=9, learning_rate=1e6, weight_decay=1e6)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "pretraining, step 2: the loss isn't finite" in told and "--learning_rate" in told and "--overwrite" in told
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_weights_that_are_not_finite_are_never_saved(pretrain, tmp_path, monkeypatch, capsys):
    """The last update's, after which no loss is looked at."""
    update = learner.BlanksLearner.update

    def spoiled(self, *given):
        values = update(self, *given)
        if self.updates == 3:
            self.model.bias_V.data[5] = torch.nan
        return values

    monkeypatch.setattr(learner.BlanksLearner, "update", spoiled)
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path / "out", steps=3, save_steps=2)
    assert "step 3: bias_V contains numbers that aren't finite" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_folder_with_something_else_in_it_is_not_touched(pretrain, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path, overwrite=True)
    refused(capsys, "contains other files")
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_killed_before_it_could_write_down_what_it_was_told_it_starts_again(pretrain, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".pretraining.json.0a1b2c3d.part").write_bytes(b'{"told"')
    pretrain(out=out, steps=1)
    assert (out / "model.safetensors").is_file() and not list(out.glob(".*")) and not (out / "writer.json").exists()


@pytest.mark.parametrize(
    "odd", [b"", b"[]", b'{"told"', bytes(64), b"{}", b'{"told": 1}', b'{"told": {}, "result": 3}']
)
def test_an_odd_record_is_refused_and_overwritten_on_demand(pretrain, tmp_path, capsys, odd):
    out = tmp_path / "out"
    out.mkdir()
    (out / "pretraining.json").write_bytes(odd)
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=out, steps=1)
    refused(capsys, str(out / "pretraining.json"), "--overwrite")
    assert [path.name for path in out.iterdir()] == ["pretraining.json"]
    if odd == b"{}":
        pretrain(out=out, steps=1, overwrite=True)
        assert (out / "model.safetensors").is_file()


def test_an_encoder_is_not_trained_into_itself(pretrain, pretrained, capsys):
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=pretrained, encoder=pretrained, overwrite=True)
    refused(capsys, "--encoder", "are the same folder")
    assert (pretrained / "model.safetensors").is_file()
