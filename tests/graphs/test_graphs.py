"""ONNX graphs against the models that they are made of: every system, batches of any shape, 8-bit weights, folders."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mere_ds
from mere_ds import flags
from mere_ds.backends.loading import load_backend
from mere_ds.backends.onnx_files import MODEL, PAIRS, weights_of
from mere_ds.backends.with_onnx import OnnxBackend, session
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.cli import COMMANDS
from mere_ds.encoders.sources import build_encoder, load_encoder
from mere_ds.errors import UserError
from mere_ds.exporting.making import export_model
from mere_ds.graphs import checking
from mere_ds.graphs.writing import write_graphs
from mere_ds.inference import Extractor
from mere_ds.model.configuration import HerbertaConfig
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.model.use import load_for_use
from mere_ds.sums import STATE, SUMS
from tests.encoders.families import FAMILIES, OTHERS, make
from tests.encoders.families import TEXTS as FAMILY_TEXTS
from tests.model.samples import VOCABULARY, bert, tiny_batch, tiny_config, tiny_model, without_gold, xlm_roberta
from tests.small_model import LANGUAGES, TEXTS, leave_run

STATES = {"use_la": False, "use_ls": False, "entity_heads": "states"}
MANY = {"triples": "many", "pairing": 4}
SYSTEMS = {
    "mERE": {"stage": 2, "characters": 5},
    "mERE, every sub-module": {"stage": 2, "top_k": 3},
    "mERE14": {"stage": 2, "routing": "language"},
    "mERE-LS": {"encoder": xlm_roberta, "ordered_spans": False, "la_residual": False},
    "mBERT": STATES | {"overlapping_spans": False, "pooler": "mean"},
    "mERE, many": {"stage": 2, "overlapping_spans": False} | MANY,
    "mBERT, many": STATES | {"characters": 3} | MANY,
}


def herberta() -> HerbertaModel:
    torch.manual_seed(0)
    shared = ("languages", "labels", "label_mask", "language_token_ids", "max_length")
    config = HerbertaConfig(**{name: getattr(tiny_config(), name) for name in shared}, initializer_range=0.3)
    model = HerbertaModel.from_encoder(bert(initializer_range=0.3), config)
    model.begin_stage_two(bert(initializer_range=0.3))
    return model.eval()


def made(name: str):
    return herberta() if name == "HERBERTa" else tiny_model(**SYSTEMS[name]).float()


def graphs_of(model, folder, precision="fp32") -> OnnxBackend:
    write_graphs(model, folder, precision)
    pairs = session(folder / PAIRS, 1) if (folder / PAIRS).exists() else None
    return OnnxBackend(model.config.to_dict(), session(folder / MODEL, 1), pairs)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A system's two backends, torch's and onnxruntime's."""
    kept: dict[str, tuple] = {}

    def make_both(name):
        if name not in kept:
            model = made(name)
            kept[name] = TorchBackend(model), graphs_of(model, tmp_path_factory.mktemp("graphs"))
        return kept[name]

    return make_both


def assert_equal_triples(ours, theirs) -> None:
    assert ours.score_F.dtype == np.float32 and len(ours.score_F) == len(theirs.score_F)
    np.testing.assert_allclose(ours.score_F, theirs.score_F, atol=1e-4, rtol=0)
    for name in ("sentence_F", "relation_F", "positions_F4", "cuts_F4"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), name)


@pytest.mark.parametrize("name", [*SYSTEMS, "HERBERTa"])
def test_graphs_find_what_the_model_finds(both, name):
    theirs, ours = both(name)
    assert ours.facts == theirs.facts and ours.precision == "fp32"
    for lengths in ((9, 6, 12, 5), (4,), (4, 4), (5, 30), (7,) * 33, (38,)):
        batch = [x.numpy() for x in without_gold(tiny_batch(lengths, seed=len(lengths))).values()]
        assert_equal_triples(ours.predict(*batch), theirs.predict(*batch))


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["mERE", "mERE, many", "HERBERTa"])
def test_on_any_tokens(both, name, data):
    theirs, ours = both(name)
    lengths = data.draw(st.lists(st.integers(4, 37), min_size=1, max_size=9))
    width = max(lengths) + data.draw(st.integers(0, 2)) * (max(lengths) < 36)  # columns of padding alone
    numbers = st.integers(0, VOCABULARY - 1)
    token_ids_BM = np.zeros((len(lengths), width), dtype=np.int64)
    for row, length in zip(token_ids_BM, lengths, strict=True):
        row[:length] = data.draw(st.lists(numbers, min_size=length, max_size=length))
    mask_BM = np.arange(width) < np.array(lengths)[:, None]
    languages_B = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(lengths), max_size=len(lengths))))
    a, b = (backend.predict(token_ids_BM, mask_BM, languages_B) for backend in (ours, theirs))
    for sentence in range(len(lengths)):  # equally good triples may come in another order, or give way to each other
        scores = [np.sort(x.score_F[x.sentence_F == sentence])[::-1] for x in (a, b)]
        most = min(map(len, scores))
        np.testing.assert_allclose(*(its[:most] for its in scores), atol=1e-4, rtol=0)
        assert all((its[most:] < 0.0201).all() for its in scores), "only what is at the threshold"
    if len(a.score_F) == len(b.score_F):
        same = (a.relation_F == b.relation_F) & (a.positions_F4 == b.positions_F4).all(axis=1)
        assert same.mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FAMILIES | OTHERS))
def test_every_architecture_becomes_a_graph(kind, tmp_path):
    source = make(kind, tmp_path / "source")
    info = build_encoder(str(source), tmp_path / "encoder", lambda: FAMILY_TEXTS, LANGUAGES)
    ids = [info.language_token_ids[language] for language in LANGUAGES]
    config = tiny_config(languages=LANGUAGES, language_token_ids=ids, max_length=60)
    model = MereModel.from_encoder(load_encoder(tmp_path / "encoder", info), config)
    model.begin_stage_two()
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "encoder", out)
    model.config.save_pretrained(out)
    write_graphs(model, out)
    agreement = checking.check_graphs(model, out, "fp32")
    assert agreement.difference < 1e-4 and agreement.sentences > 10


def exported(run, out, precision="fp32"):
    """A folder as `mere-ds export --to=onnx` leaves it, and how it agrees with the model."""
    export_model(run, out, to="onnx", precision=precision)
    return out, checking.check_graphs(load_model(run), out, precision)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return leave_run(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return exported(run, tmp_path_factory.mktemp("exported") / "model")[0]


def test_answers_of_a_folder_are_those_of_the_checkpoint(run, folder):
    texts, languages = [*TEXTS, "", "x", "Anna " * 500, *TEXTS], ["de", "fr", "pt-BR", "de", "de", "fr", *LANGUAGES]
    extractors = (Extractor.load(place, threads=1, precision="fp32") for place in (folder, run))
    ours, theirs = (extractor.extract(texts, languages) for extractor in extractors)
    for a, b in zip(ours, theirs, strict=True):
        for triple, other in zip(a["triples"], b["triples"], strict=True):
            assert triple.pop("score") == pytest.approx(other.pop("score"), abs=1e-4)
        assert a == b


def test_weights_of_8_bits_keep_most_triples(run, tmp_path):
    """Even of a small model with large random weights, which rounding changes more than those of a trained one."""
    folder, agreement = exported(run, tmp_path / "model", "int8")
    assert 1e-6 < agreement.difference < 0.5 and agreement.kept > 0.5
    assert load_backend(folder).precision == "int8"


def test_one_large_embedding_does_not_cost_the_others_their_8_bits(tmp_path):
    """One scale for all rows would make most of them zero."""
    model = tiny_model(stage=2).float()
    batch = [x.numpy() for x in without_gold(tiny_batch((9, 6, 12, 5))).values()]
    expected = TorchBackend(model).predict(*batch)
    with torch.no_grad():
        model.get_input_embeddings().weight[3] *= 400  # no token of the batch
    batch[0][batch[0] == 3] = 9
    expected, found = (backend.predict(*batch) for backend in (TorchBackend(model), graphs_of(model, tmp_path, "int8")))
    np.testing.assert_allclose(found.score_F, expected.score_F, atol=0.02)
    assert (found.positions_F4 == expected.positions_F4).mean() > 0.8


@pytest.mark.parametrize(
    ("flags_given", "says"),
    [
        (["--int8"], "--int8: needs --to=onnx; --precision=bf16 makes safetensors smaller"),
        (["--to=onnx", "--precision=bf16"], "--precision=bf16: is of --to=safetensors: remove it, or pass --int8"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(run, tmp_path, capsys, flags_given, says):
    with pytest.raises(SystemExit) as ended:
        flags.run(COMMANDS, ["export", str(run), str(tmp_path / "out"), *flags_given], "mere-ds")
    assert ended.value.code == 2 and says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_card_and_the_commands_know_an_exported_graph(run, tmp_path, capsys):
    out = tmp_path / "my-model"
    flags.run(COMMANDS, ["export", str(run), str(out), "--to=onnx", "--int8"], "mere-ds")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "pip install 'mere-ds[runtime]'" in card and "Weights: int8." in card
    assert not (out / "model.safetensors").exists() and MODEL in capsys.readouterr().out
    flags.run(COMMANDS, ["extract", str(out), TEXTS[0], "--lang=de"], "mere-ds")
    (line,) = capsys.readouterr().out.splitlines()
    (triple,) = mere_ds.load(out).extract(TEXTS[0], "de")
    assert json.loads(line)["triples"] == [triple.to_dict()]


def test_no_node_is_of_a_slow_kind(tmp_path):
    made("mERE").save_pretrained(tmp_path)
    model = load_for_use(tmp_path, "fp32")
    write_graphs(model, tmp_path)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / MODEL).graph.node)
    assert kinds["Softmax"] > model.config.encoder_config["num_hidden_layers"]
    assert kinds["ScatterElements"] == 0, "adds number by number"
    assert kinds["IsNaN"] <= 1, "looks for sentences without tokens, in LA alone"


@pytest.mark.parametrize("precision", ("fp32", "int8"))
def test_equal_models_give_equal_files(tmp_path, precision):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_graphs(tiny_model(stage=2).float(), tmp_path / name, precision)
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert one == other and {MODEL} <= one.keys() <= {MODEL, weights_of(MODEL)}


def test_weights_are_beside_the_graph_for_all_to_read_whatever_the_working_folder_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(weights_of(MODEL)).write_bytes(b"another model's")
    (tmp_path / "out").mkdir()
    graphs_of(made("mERE"), tmp_path / "out")
    size = {name: (tmp_path / "out" / name).stat().st_size for name in (MODEL, weights_of(MODEL))}
    assert size[weights_of(MODEL)] > 4 * made("mERE").encoder.model.embeddings.word_embeddings.weight.numel()
    assert all(len(tensor.raw_data) < 1024 for tensor in inside(tmp_path / "out").graph.initializer)
    modes = {(tmp_path / "out" / name).stat().st_mode for name in size}
    assert len(modes) == 1, "a library writes the one for its owner alone"


def inside(folder):
    return onnx.load(folder / MODEL, load_external_data=False)


def test_graphs_with_the_weights_inside_are_read_too(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    without_digests(copy)
    onnx.save(onnx.load(copy / MODEL), copy / "whole.onnx")
    (copy / weights_of(MODEL)).unlink()
    (copy / "whole.onnx").replace(copy / MODEL)
    one, other = (mere_ds.load(f).extract(TEXTS[0], "de") for f in (folder, copy))
    assert one == other


def test_weights_elsewhere_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    without_digests(copy)
    (copy / weights_of(MODEL)).replace(tmp_path / "elsewhere")
    graph = inside(copy)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../elsewhere"
    (copy / MODEL).write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match=f"{MODEL}: can't be read .*: copy the folder again, or export"):
        load_backend(copy)


def without_digests(folder) -> None:
    (folder / SUMS).unlink()
    (folder / STATE).unlink()


def damaged(folder, tmp_path, name=MODEL):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize("name", (MODEL, weights_of(MODEL)))
def test_a_damaged_file_is_not_used(folder, tmp_path, name):
    copy = damaged(folder, tmp_path, name)
    with pytest.raises(UserError, match=f"damaged .{name} does not match its sha256"):
        load_backend(copy)
    without_digests(copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{MODEL}: can't be read .*: copy the folder again, or export"):
        load_backend(copy)


def test_a_graph_of_another_version_or_program_is_refused(folder, tmp_path):
    import onnx

    shutil.copytree(folder, tmp_path / "copy")
    without_digests(tmp_path / "copy")
    graph = onnx.load(tmp_path / "copy" / MODEL)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "copy" / MODEL)
    with pytest.raises(UserError, match="not a graph that this version of mere-ds reads: export the model again"):
        load_backend(tmp_path / "copy")


def test_a_configuration_that_lacks_something_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    without_digests(tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text()) | {"labels": "born-in", "ordered_spans": None}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="config.json: has no valid labels, ordered_spans: copy"):
        load_backend(tmp_path / "copy")


def test_k_is_the_one_that_was_exported(folder):
    assert Extractor.load(folder, k=2).languages == tuple(LANGUAGES)
    with pytest.raises(UserError, match="--k=1: .* was exported with k = 2: remove --k, or use the run"):
        Extractor.load(folder, k=1)
    with pytest.raises(UserError, match="--k=9: must be between 1 and 3"):
        Extractor.load(folder, k=9)


def test_another_precision_is_refused(folder):
    with pytest.raises(UserError, match="--precision=bf16: .* was exported in fp32: remove --precision, or use"):
        load_backend(folder, precision="bf16")


def test_without_onnxruntime_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"an exported ONNX model needs onnxruntime, .*'mere-ds\[runtime\]'"):
        load_backend(folder)


def test_a_graph_that_computes_something_else_is_noticed(run, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    model = load_model(run)
    with torch.no_grad():
        model.heads.index_4D[0] *= 1.02
    with pytest.raises(UserError, match="gives other scores than torch .by up to .*: export it without --to=onnx"):
        checking.check_graphs(model, tmp_path / "copy", "fp32")


def test_what_can_not_become_a_graph_is_refused_in_one_line(run, tmp_path, monkeypatch):
    model = load_model(run)
    monkeypatch.setattr(MereModel, "unify", lambda self, ids, mask: torch.linalg.svd(ids.float())[:2])
    with pytest.raises(UserError, match=r"this encoder \(bert\) can't become an ONNX graph \(.*\): export"):
        write_graphs(model, tmp_path)
    assert not any(tmp_path.iterdir())
