"""`mere-ds export`: what travels, that it answers as the run does, and what is refused."""

import json
import shutil
from contextlib import contextmanager

import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file, save_file

import mere_ds
from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.encoders.sources import load_encoder, load_tokenizer
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.exporting import making
from mere_ds.exporting.making import export_model
from mere_ds.files import write_json
from mere_ds.inference import Extractor
from mere_ds.model.calibration import CALIBRATION, Calibration, Curve
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model, used_model
from mere_ds.sums import SUMS, damage, write_sums
from mere_ds.training.starting import find_start
from tests.evaluation.made_up_runs import ingredients_of, make_checkpoint
from tests.full_disk import files_of_at_most
from tests.model.samples import tiny_config
from tests.shards.toy_corpus import make_shards, write_corpus

TEXTS = ["berlin gau dorf stein", "Le roi, mont-val!", "", "lin gau " * 60, "киї лис"]
FILES = ["README.md", SUMS, CALIBRATION, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), sizes={"de": (60, 9), "fr": (30, 6)})
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture
def make_run(shards, tmp_path):
    """make_run(seed=0, ...): RUN with a checkpoint of a model with random weights, as if trained on the shards."""

    def make(seed=0, system="mERE-LS", place=shards.source, **state):
        run, told = tmp_path / "run", {"shards": str(place)}
        ingredients = ingredients_of(1, shards.sha256, system=system, seed=seed)
        folder = make_checkpoint(run, 1, ingredients, told=told, **state)
        write_json(run / "config.json", {"stage1": told})
        languages = shards.languages
        config = tiny_config(
            languages=languages,
            labels=shards.labels,
            label_mask=shards.label_mask,
            language_token_ids=[shards.encoder.language_token_ids[language] for language in languages],
            max_length=shards.max_length,
            use_ls=system == "mERE",
        )
        torch.manual_seed(seed)
        MereModel.from_encoder(load_encoder(shards.encoder_folder, shards.encoder), config).save_pretrained(folder)
        save_tokenizer(load_tokenizer(shards.encoder_folder), folder)
        write_json(folder / CALIBRATION, Calibration(0.3, Curve(1.5, 0.0), {}, 10).as_dict())
        save_file({"moment": torch.zeros(4)}, folder / "optimizer.safetensors")
        (folder / SUMS).unlink()
        write_sums(folder)
        return run

    return make


def evaluate(run) -> dict:
    return evaluate_runs([str(run)], None, "test")[0]


def answers(folder) -> list[dict]:
    extractor = Extractor.load(folder, negative_labels=())
    return [answer for language in ("de", "fr") for answer in extractor.extract(TEXTS, language)]


def test_an_exported_model_answers_as_its_run_and_holds_no_more_than_that_needs(make_run, tmp_path, capsys):
    run, out = make_run(), tmp_path / "new" / "my-model"
    flags.run(COMMANDS, ["export", str(run), str(out), "--license=Apache-2.0"], "mere-ds")
    shown = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "training.json"])
    assert all(name in shown for name in FILES)
    assert damage(out) is None
    assert answers(out) == answers(trained_model(RunFolder(run)).folder), "bit for bit"
    model = used_model(out)
    assert (model.stage, model.step, model.system, model.check_language("DE")) == (1, 10, "mERE-LS", "de")
    for place in (run, out):
        flags.run(COMMANDS, ["extract", str(place), "berlin gau dorf", "--lang=de", "--keep_negative"], "mere-ds")
    one, other = capsys.readouterr().out.splitlines()
    assert one == other and json.loads(one)["triples"]
    assert find_start(str(out)).sha256 == model.sha256, "a training may start from it"
    assert ModelCard.load(out / "README.md").data.license == "apache-2.0"


def test_the_lines_of_python_in_the_card_work(make_run, tmp_path, monkeypatch):
    export_model(make_run(), tmp_path / "my-model")
    code = (tmp_path / "my-model" / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code, found)
    assert isinstance(found["model"], mere_ds.Model) and found["triples"].lang == "fr"


def test_equal_runs_give_equal_bytes_and_no_path_travels(make_run, shards, tmp_path):
    run = make_run()
    evaluate(run)
    for name in ("a", "b"):
        export_model(run, tmp_path / name / "model")
    for path in (tmp_path / "a" / "model").iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "b" / "model" / path.name).read_bytes()
        assert str(tmp_path).encode() not in content and str(shards.source).encode() not in content


def test_the_card_has_the_scores_of_this_model(make_run, tmp_path):
    of_dev = {"relation": 50.0, "triple": 12.0, "triple_characters": 9.0}
    rows = {language: of_dev | {"sentences": 3} for language in ("de", "fr")}
    run = make_run(dev={"languages": rows, "average": of_dev, "pooled": of_dev})
    test = evaluate(run)
    exported = export_model(run, tmp_path / "out")
    assert exported.notes == []
    card = ModelCard.load(tmp_path / "out" / "README.md")
    found = {(r.dataset_split, r.dataset_config, r.metric_name): r for r in card.data.eval_results}
    for language in ("de", "fr"):
        scores, bounds = test["languages"][language], test["intervals"]["languages"][language]
        assert found["test", language, "Relation F1"].metric_value == round(scores["relation"], 2)
        triple = found["test", language, "Triple F1 by tokens"]
        assert triple.metric_value == round(scores["triple"], 2)
        assert triple.metric_args == {
            "sentences": scores["sentences"], "interval_95": [round(bound, 2) for bound in bounds]
        }  # fmt: skip
    assert found["dev", "pooled", "Triple F1 by characters"].metric_value == 9.0
    counts = sentence_counts(card.text)
    assert counts["all"][2] == sum(row["sentences"] for row in test["languages"].values())
    assert "### dev (measured while training)" in card.text and "| average | 6 | 50.0 | 12.0 | 9.0 |" in card.text


def sentence_counts(text: str) -> dict[str, list[int]]:
    """The table of sentences by split."""
    table = text.split("Sentences:\n\n")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: [int(cell) for cell in row[1:]] for row in rows}


def test_what_the_card_cannot_say_is_told(make_run, shards, tmp_path, capsys):
    run = make_run(finished=False, place=tmp_path / "gone")
    flags.run(COMMANDS, ["export", str(run), str(tmp_path / "out")], "mere-ds")
    notes = capsys.readouterr().err.splitlines()
    assert [line for line in notes if "stage 1 is not finished" in line]
    assert [line for line in notes if "counts of the training data are left out" in line and "gone" in line]
    for flag in ("evaluate before", "evaluate --split=dev before"):
        assert [line for line in notes if line.endswith(f"run mere-ds {flag}")]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "No scores of this model are known" in card and "training was not finished" in card and shards.sha256 in card


def refused(capsys, *argv: object) -> str:
    capsys.readouterr()  # of saving the run's model
    with pytest.raises(SystemExit) as left:
        flags.run(COMMANDS, ["export", *map(str, argv)], "mere-ds")
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    return line


def test_a_stale_evaluation_is_refused_as_other_commands_do(make_run, tmp_path, capsys):
    run = make_run()
    evaluate(run)
    make_run(seed=1)
    assert "run mere-ds evaluate" in refused(capsys, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_of_another_checkpoint_are_left_out(make_run, tmp_path):
    run = make_run()
    evaluate(run)
    stage = run / "checkpoints" / "stage1"
    newer = shutil.copytree(stage / "best", stage / "step-00000020")
    state = json.loads((newer / "training.json").read_text())
    write_json(newer / "training.json", state | {"step": 20})
    write_sums_again(newer)
    (stage / "latest").unlink()
    (stage / "latest").symlink_to(newer.name)
    exported = export_model(run, tmp_path / "out", which="latest")
    assert any("test.json is of another checkpoint (--which=best)" in note for note in exported.notes)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.eval_results is None
    assert used_model(tmp_path / "out").step == 20


def write_sums_again(folder) -> None:
    (folder / SUMS).unlink()
    write_sums(folder)


def test_a_missing_stage_two_is_said(make_run, tmp_path, capsys):
    run = make_run(system="mERE")
    assert "has not been trained through stage two" in refused(capsys, run, tmp_path / "out")
    export_model(run, tmp_path / "out", which="stage1")
    assert used_model(tmp_path / "out").lacks_stage_two
    assert "stage one alone" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bits_are_rounded_weights_of_half_the_size(make_run, tmp_path, precision):
    run, out = make_run(), tmp_path / "out"
    export_model(run, out, precision=precision)
    whole = trained_model(RunFolder(run)).folder
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    stored, before = load_file(out / "model.safetensors"), load_file(whole / "model.safetensors")
    assert stored.keys() == before.keys()
    assert all(torch.equal(stored[name], tensor.to(dtype)) for name, tensor in before.items())
    assert {parameter.dtype for parameter in load_model(out).parameters()} == {torch.float32}
    assert answers(out)
    assert f"Weights: {precision}." in (out / "README.md").read_text(encoding="utf-8")


def test_a_failed_export_leaves_what_was_there(make_run, tmp_path, capsys):
    run, out = make_run(), tmp_path / "out"
    export_model(run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    folder = trained_model(RunFolder(run)).folder
    weights = load_file(folder / "model.safetensors")
    weights[max(weights)] = torch.full_like(weights[max(weights)], 1e6)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_sums_again(folder)
    line = refused(capsys, run, out, "--precision=fp16", "--overwrite")
    assert "numbers too large for it: use bf16 or fp32" in line
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()].count("out") == 1 and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_or_ctrl_c_leaves_no_half_of_a_model(make_run, tmp_path, capsys, monkeypatch, there):
    run, out = make_run(), tmp_path / "out"
    if there:
        export_model(run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()} if there else None
    for code, trouble in ((1, files_of_at_most(1 << 14)), (130, stopped_at_the_card(monkeypatch))):
        with pytest.raises(SystemExit) as left, trouble:
            flags.run(COMMANDS, ["export", str(run), str(out), "--overwrite"], "mere-ds")
        assert left.value.code == code and len(capsys.readouterr().err.strip().splitlines()) == 1
        assert ({path.name: path.read_bytes() for path in out.iterdir()} if out.exists() else None) == before
        assert {path.name for path in tmp_path.iterdir()} == {"run", "out"} if there else {"run"}


@contextmanager
def stopped_at_the_card(monkeypatch):
    def card(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "card", card)
    yield


def test_what_is_no_exported_model_is_never_overwritten(make_run, tmp_path, capsys):
    run, out = make_run(), tmp_path / "out"
    export_model(run, out)
    assert "exists already: choose another folder or pass --overwrite" in refused(capsys, run, out)
    export_model(run, out, license="mit", overwrite=True)
    assert ModelCard.load(out / "README.md").data.license == "mit"
    other = tmp_path / "other"
    shutil.copytree(run / "checkpoints" / "stage1" / "best", other)
    assert "is a checkpoint, not an exported model" in refused(capsys, run, other, "--overwrite")
    (tmp_path / "notes").mkdir()
    assert "is not a mere-ds model folder" in refused(capsys, run, tmp_path / "notes", "--overwrite")
    assert "choose another folder for OUT" in refused(capsys, run, run / "out")


def test_an_edited_card_is_used_and_damaged_weights_are_not(make_run, tmp_path):
    out = tmp_path / "out"
    export_model(make_run(), out)
    with (out / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nMore about it.\n")
    assert answers(out)
    content = bytearray((out / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (out / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="model.safetensors does not match its sha256"):
        answers(out)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """cached(folder): the folder as the hub's cache has `someone/small`; the hub itself can't be asked."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(folder):
        model, commit = tmp_path / "cache" / "models--someone--small", "0" * 40
        (model / "refs").mkdir(parents=True)
        (model / "refs" / "main").write_text(commit)
        shutil.copytree(folder, model / "snapshots" / commit)

    return put


def test_a_model_on_the_hub_is_used_by_its_id(make_run, tmp_path, cached, capsys):
    export_model(make_run(), tmp_path / "out")
    cached(tmp_path / "out")
    for place in ("hf://someone/small", "hf://someone/small@main", str(tmp_path / "out")):
        flags.run(COMMANDS, ["extract", place, "berlin gau dorf", "--lang=de", "--keep_negative"], "mere-ds")
    assert len(set(capsys.readouterr().out.splitlines())) == 1
    assert mere_ds.load("hf://someone/small").languages == mere_ds.load(tmp_path / "out").languages


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("hf://someone/other", "hf://someone/other is not available (.*): check the name"),
        ("hf://someone/small", "hf://someone/small: has no training.json, so it is no model that mere-ds export made"),
        ("hf://small", "not a model on the hub: write hf://org/name"),
        ("hf://../small", "not a model on the hub: write hf://org/name"),
        ("someone/small", "no such folder"),
    ],
)
def test_what_is_no_exported_model_on_the_hub_is_refused(place, said, cached, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    cached(tmp_path / "other")
    with pytest.raises(UserError, match=said):
        used_model(place)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--license=my own", "pass the hub's id of a licence"),
        ("--license=MIT\nlanguage: x", "pass the hub's id of a licence"),
        ("--datasets=org/corpus,../x", "--datasets=../x: not the id of a data set"),
        ("--precision=int8", "must be one of fp32, bf16, fp16"),
        ("--which=stage2", "must be one of best, latest, stage1"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_read(flag, said, tmp_path, capsys):
    assert said in refused(capsys, tmp_path / "nothing", tmp_path / "out", flag)


def test_a_checkpoints_folder_is_exported_without_scores(make_run, tmp_path):
    run = make_run()
    evaluate(run)
    exported = export_model(trained_model(RunFolder(run)).folder, tmp_path / "out", datasets=("org/corpus",))
    assert any("scores on test are left out" in note for note in exported.notes)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.datasets == ["org/corpus"]


def content_of(folder) -> dict[str, bytes]:
    """Its files but the card."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}


@pytest.mark.parametrize("how", [{"precision": "fp32"}, {"precision": "bf16"}, {"to": "onnx"}])
def test_an_exported_model_is_exported_again_as_its_run(make_run, tmp_path, how):
    run, exported = make_run(finished=False), tmp_path / "exported"
    evaluate(run)
    export_model(run, exported)
    export_model(run, tmp_path / "direct", **how)
    made = export_model(exported, tmp_path / "again", **how)
    assert content_of(tmp_path / "again") == content_of(tmp_path / "direct")
    (unfinished, left_out) = made.notes
    assert "stage 1 is not finished" in unfinished
    assert "scores, counts of the training data and versions are left out" in left_out and "export the run" in left_out
    card = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert f"sha256 `{trained_model(RunFolder(run)).sha256}`" in card, "of the checkpoint that it came from"
    assert "No scores of this model are known" in card and "training was not finished" in card


def test_rounded_weights_are_never_given_out_as_others(make_run, tmp_path, capsys):
    rounded = tmp_path / "rounded"
    export_model(make_run(), rounded, precision="bf16")
    for more in ([], ["--precision=fp16"]):
        line = refused(capsys, rounded, tmp_path / "out", *more)
        assert line.endswith("rounded to bf16 already: pass --precision=bf16, or the run itself")
    export_model(rounded, tmp_path / "again", precision="bf16", license="mit")
    assert content_of(tmp_path / "again") == content_of(rounded)
    export_model(rounded, tmp_path / "graphs", to="onnx")
    assert "made from weights rounded to bf16" in (tmp_path / "graphs" / "README.md").read_text(encoding="utf-8")


def test_graphs_have_no_weights_to_export_or_to_start_from(make_run, tmp_path, capsys):
    graphs = tmp_path / "graphs"
    export_model(make_run(), graphs, to="onnx")
    said = "is exported to ONNX, which has no weights for torch: pass the run that it was exported from, or its export "
    for more in ([], ["--to=onnx", "--int8"], ["--precision=bf16"]):
        assert said in refused(capsys, graphs, tmp_path / "out", *more)
    with pytest.raises(UserError, match=f"--start: {graphs}: {said}"):
        find_start(str(graphs))
    assert not (tmp_path / "out").exists()


def test_languages_that_are_no_codes_are_refused(make_run, tmp_path):
    run = make_run()
    folder = trained_model(RunFolder(run)).folder
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"languages": ["de", "$(x)"]})
    write_sums_again(folder)
    with pytest.raises(UserError, match=r"'\$\(x\)' is not a language code"):
        export_model(run, tmp_path / "out")


def test_a_single_checkpoint_has_no_scores_and_nothing_can_be_scored(make_run, tmp_path, capsys):
    checkpoint = trained_model(RunFolder(make_run())).folder
    notes = export_model(checkpoint, tmp_path / "out").notes
    told = f"{checkpoint} is a single checkpoint: export the run itself for a card with them"
    assert f"scores on test are left out: {told}" in notes and not any("mere-ds evaluate" in note for note in notes)
