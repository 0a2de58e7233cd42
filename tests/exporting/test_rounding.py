"""What 8-bit weights lose in F1 is measured, and told in the card and in a note."""

import torch

from mere_ds.backends.with_onnx import OnnxBackend
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.encoders.tokens import load_tokenizer
from mere_ds.evaluation.scoring import score_split
from mere_ds.exporting import making, rounding
from mere_ds.exporting.making import export_model
from mere_ds.model.loading import load_model
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model
from tests.exporting.test_exporting import make_run, shards  # noqa: F401  # fixtures


def test_the_loss_is_the_difference_of_both_scores(make_run, shards, tmp_path, monkeypatch):  # noqa: F811
    folder = export_model(make_run(), tmp_path / "model", to="onnx").folder
    model = load_model(trained_model(RunFolder(tmp_path / "run")).folder)
    lost, measured_on = rounding.f1_lost(model, folder, shards)
    sentences = shards.splits["dev"].sentences
    assert lost == {"de": 0.0, "fr": 0.0, "average": 0.0} and measured_on == f"{sentences} sentences of dev"
    one, other = (
        {"de": {"triple": of_de}, "average": {"triple": both}} for of_de, both in ((50.0, 40.0), (49.0, 41.0))
    )
    rows = iter([(one, 9), (other, 9)])
    monkeypatch.setattr(rounding, "_scored", lambda *_: next(rows))
    assert rounding.f1_lost(model, folder, shards)[0] == {"de": 1.0, "average": -1.0}


def test_scores_are_those_of_an_evaluation(make_run, shards, tmp_path):  # noqa: F811
    folder = export_model(make_run(), tmp_path / "model", to="onnx").folder
    model = load_model(trained_model(RunFolder(tmp_path / "run")).folder).eval()
    expected = score_split(model, shards, "test", load_tokenizer(folder), torch.device("cpu"))
    for backend in (TorchBackend(model), OnnxBackend.load(folder)):
        rows, sentences = rounding._scored(backend, folder, shards, "test")
        assert rows == expected["languages"] | {"average": expected["average"]}
        assert 0 < rows["average"]["relation"] < 100
        assert sentences == shards.splits["test"].sentences


def test_the_card_and_a_note_tell_it(make_run, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(making, "f1_lost", lambda *_: ({"de": 0.1, "fr": 1.7, "average": 0.9}, "9 sentences of dev"))
    exported = export_model(make_run(), tmp_path / "model", to="onnx", precision="int8")
    assert "int8 loses 0.90 points of triple F1 on average, on 9 sentences of dev" in exported.notes
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    assert "| fr | 1.70 |" in card and "was measured on 9 sentences of dev" in card


def test_without_the_shards_it_says_so(make_run, tmp_path):  # noqa: F811
    exported = export_model(make_run(place=tmp_path / "gone"), tmp_path / "model", to="onnx", precision="int8")
    assert any(note.startswith("what int8 loses in F1 was not measured: ") for note in exported.notes)
    assert OnnxBackend.load(exported.folder).precision == "int8"
