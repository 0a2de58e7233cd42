"""Every architecture that can be the encoder, at its smallest, from its folder to the triples."""

import json
import signal
from functools import partial, partialmethod

import pytest
import torch
import transformers
from launching import deepspeed_config, records, weights
from meddling import no_encoder_in_stage_two, signal_before_update
from outcomes import assert_same_results
from ranks import run_ranks
from transformers import AutoTokenizer

from mere_ds.encoders.families import FAMILIES as ACCEPTED
from mere_ds.encoders.families import widening
from mere_ds.encoders.sources import build_encoder, load_encoder, load_tokenizer
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.encoders.weights import word_embeddings
from mere_ds.errors import UserError
from mere_ds.inference import Extractor
from mere_ds.model.configuration import HerbertaConfig, MereConfig
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.pretraining.batches import BlankBatch
from mere_ds.pretraining.objectives import Blanks
from tests.encoders.families import FAMILIES, OTHERS, TEXTS, make
from tests.shards.toy_corpus import make_shards, write_corpus

LANGUAGES = ["de", "en", "ko"]
KINDS = sorted(FAMILIES | OTHERS)
NARROW = ("albert", "electra", "rembert")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """built(kind) -> (folder, description, source) of its encoder with language symbols, made once."""
    made = {}

    def of(kind: str):
        if kind not in made:
            root = tmp_path_factory.mktemp(kind)
            source = make(kind, root / "source")
            made[kind] = root / "out", build_encoder(str(source), root / "out", lambda: [], LANGUAGES), source
        return made[kind]

    return of


def model_of(built, kind, model=MereModel, config=MereConfig, **choices):
    folder, info, _ = built(kind)
    values = {
        "languages": LANGUAGES, "labels": ["a", "b"], "label_mask": [[1, 1]] * 3, "max_length": 40,
        "language_token_ids": [info.language_token_ids[language] for language in LANGUAGES],
    }  # fmt: skip
    torch.manual_seed(2)
    return model.from_encoder(load_encoder(folder, info), config(**values, **choices))


def batch_of(built, kind, width=None):
    """Two sentences of a different length, with gold values; `width` to pad to."""
    folder, info, _ = built(kind)
    tokenizer = load_tokenizer(folder)
    words = [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS[:2]]
    ids = [[tokenizer.cls_token_id, info.language_token_ids["de"], *own, tokenizer.sep_token_id] for own in words]
    width = width or max(map(len, ids))
    token_ids_BM = torch.tensor([own + [tokenizer.pad_token_id] * (width - len(own)) for own in ids])
    mask_BM = torch.arange(width) < torch.tensor([[len(own)] for own in ids])
    return {
        "token_ids_BM": token_ids_BM, "mask_BM": mask_BM, "languages_B": torch.tensor([0, 0]),
        "labels_T": torch.tensor([0, 1]), "positions_T4": torch.tensor([[2, 3, 4, 5], [5, 6, 2, 2]]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_depend_on_the_whole_sentence_and_not_on_padding(built, kind):
    encoder = model_of(built, kind).eval().encoder
    batch = batch_of(built, kind)
    ids_BM, mask_BM = batch["token_ids_BM"], batch["mask_BM"]
    wide = batch_of(built, kind, ids_BM.shape[1] + 9)
    with torch.no_grad():
        h_BMD, pooled_BD = encoder(ids_BM, mask_BM)
        padded_BMD, padded_BD = encoder(wide["token_ids_BM"], wide["mask_BM"])
        torch.testing.assert_close(padded_BMD[:, : ids_BM.shape[1]][mask_BM], h_BMD[mask_BM], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(padded_BD, pooled_BD, rtol=1e-4, atol=1e-5)
        last = int(mask_BM[0].sum()) - 1
        ids_BM[0, last - 1] = ids_BM[0, last]
        assert (encoder(ids_BM, mask_BM)[0][0, 0] - h_BMD[0, 0]).abs().max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_both_stages_have_gradients_and_a_saved_model_is_the_same(built, kind, tmp_path):
    batch = batch_of(built, kind)
    for stage in (1, 2):
        model = model_of(built, kind, bottleneck=8, submodule_layers=[1, 2], top_k=1)
        if stage == 2:
            model.begin_stage_two()
        model.train()(**batch).loss_B.sum().backward()
        without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without
        model.save_pretrained(tmp_path / str(stage))
        again = load_model(tmp_path / str(stage))
        with torch.no_grad():
            assert torch.equal(again.eval()(**batch).loss_B, model.eval()(**batch).loss_B)


@pytest.mark.parametrize("kind", KINDS)
def test_the_router_starts_from_the_language_symbols_embeddings_through_the_encoder_s_own_map(built, kind):
    model = model_of(built, kind, bottleneck=8)
    model.begin_stage_two()
    symbols_N = torch.tensor(model.config.language_token_ids)
    rows = word_embeddings(model.encoder.model)(symbols_N)
    narrow = kind in NARROW
    assert rows.shape == (3, 16 if narrow else 32)
    own = widening(model.encoder.model)
    assert isinstance(own, torch.nn.Linear if narrow else torch.nn.Identity)
    assert torch.equal(model.switcher.languages.weight, own(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_encoder_takes_the_relation_as_a_token(built, kind):
    """HERBERTa gives embeddings instead of tokens."""
    model = model_of(built, kind, HerbertaModel, HerbertaConfig)
    folder, info, _ = built(kind)
    model.begin_stage_two(load_encoder(folder, info))
    output = model(**batch_of(built, kind))
    output.loss_B.sum().backward()
    assert model.tagger.relations.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_spells_a_special_token_and_none_is_taken_for_one(built, kind):
    folder, info, _ = built(kind)
    tokenizer = load_tokenizer(folder)
    assert read_tokenizer(folder).fingerprint == info.fingerprint, "as transformers would have it"
    special = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    unknown = tokenizer.unk_token_id
    text = "Köln " + " ".join(token.content for token in special.values()) + " \N{TETRAGRAM FOR CENTRE} Köln"
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    assert not {i for i in special if i != unknown} & set(encoding.ids)
    assert text[slice(*encoding.token_to_chars(len(encoding.ids) - 1))].strip() in text[-4:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_character_that_the_vocabulary_lacks_is_unknown(built, kind):
    tokenizer = load_tokenizer(built(kind)[0])
    ids = tokenizer("\N{TETRAGRAM FOR CENTRE}", add_special_tokens=False).input_ids
    if tokenizer.backend_tokenizer.model.__class__.__name__ != "BPE":  # these have all bytes
        assert tokenizer.unk_token_id in ids
    assert not {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id} & set(ids)


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5"])
def test_t5_gets_a_token_for_the_start_and_its_own_for_the_end(built, kind):
    folder, info, source = built(kind)
    tokenizer, old = load_tokenizer(folder), AutoTokenizer.from_pretrained(source)
    assert (tokenizer.cls_token, tokenizer.sep_token_id, tokenizer.pad_token_id) == ("[CLS]", old.eos_token_id, 0)
    assert tokenizer.cls_token_id == min(info.new_token_ids) == len(old)
    assert info.new_token_ids == list(range(len(old), len(old) + 4)) and info.vocab_size == len(old) + 4
    assert info.max_length == 1024
    rows = word_embeddings(load_encoder(folder, info)).weight.detach()
    assert (rows[tokenizer.cls_token_id] - rows[: len(old)].mean(0)).abs().max() < rows.std()


def test_eurobert_s_sentence_starts_and_ends_with_its_own_tokens(built):
    folder, info, source = built("eurobert")
    tokenizer, old = load_tokenizer(folder), AutoTokenizer.from_pretrained(source)
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (old.bos_token_id, old.eos_token_id)
    assert len(info.new_token_ids) == 3


@pytest.mark.parametrize("kind", ["mt5", "umt5", "albert", "rembert", "xlm-roberta"])
def test_of_a_larger_model_the_encoder_s_weights_are_loaded(built, kind):
    folder, info, source = built(kind)
    whole = getattr(transformers, FAMILIES[kind].whole).from_pretrained(source)
    part = whole if kind.endswith("t5") else whole.base_model
    given, loaded = part.state_dict(), load_encoder(folder, info).state_dict()
    old = len(word_embeddings(whole).weight)
    for name, tensor in loaded.items():
        if not name.startswith("pooler."):
            assert torch.equal(tensor[:old] if len(tensor) == info.vocab_size else tensor, given[name]), name


def test_all_that_is_accepted_is_tested():
    assert set(ACCEPTED) == set(KINDS)


REFUSED = [
    *("gpt2", "llama", "bart", "mbart", "longt5", "xlnet", "longformer", "big_bird", "fnet", "convbert", "yoso"),
    *(
        "nystromformer",
        "mobilebert",
        "reformer",
        "funnel",
        "canine",
        "roformer",
        "xmod",
        "clip_text_model",
        "vit",
        "layoutlm",
    ),
]


@pytest.mark.parametrize("kind", REFUSED)
def test_others_are_refused_in_one_line_that_names_the_accepted_ones(tmp_path, kind):
    source = make("bert", tmp_path / "source")
    (source / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UserError, match=f"is a {kind} model, which can't be the encoder; choose albert, bert") as told:
        build_encoder(str(source), tmp_path / "out", lambda: [], LANGUAGES)
    assert "\n" not in str(told.value) and all(accepted in str(told.value) for accepted in ACCEPTED)


def test_a_bert_that_was_trained_as_a_decoder_is_refused(tmp_path):
    source = make("bert", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"is_decoder": True}))
    with pytest.raises(UserError, match="set up as a decoder"):
        build_encoder(str(source), tmp_path / "out", lambda: [], LANGUAGES)


@pytest.mark.parametrize("kind", [*NARROW, "bert"])
def test_mtmb_predicts_words_with_narrow_embeddings_too(built, kind):
    folder, info, _ = built(kind)
    batch = batch_of(built, kind)
    of_words = {
        "masked_N": torch.tensor([2, 3]), "targets_N": torch.tensor([7, 8]), "starts_B2": None, "groups_B": None,
        "rows_B": torch.tensor([0, 1]),
    }  # fmt: skip
    model = Blanks(load_encoder(folder, info), info.vocab_size)
    values = model(BlankBatch(token_ids_BM=batch["token_ids_BM"], mask_BM=batch["mask_BM"], **of_words))
    values["masked_words"].backward()
    assert word_embeddings(model.encoder).weight.grad[7].abs().max() > 0


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """train(kind, run, ranks=1, zero=1, ...): both stages, over shards made once; any knob may be given again."""
    root = tmp_path_factory.mktemp("families")
    corpus = write_corpus(root / "corpus", {"de": (60, 6), "fr": (40, 4)})
    knobs = {
        "stage": "all", "epochs": 1, "epochs_stage_two": 2, "batch_size": 8, "learning_rate": 1e-3, "top_k": 1,
        "bottleneck": 8, "submodule_layers": "1,2", "log_every": 1,
    }  # fmt: skip

    def train(kind: str, run, ranks=1, zero=1, **other):
        shards = root / kind
        if not shards.exists():
            make_shards(corpus, shards, encoder=str(make(kind, root / f"{kind}-encoder")), max_length=60)
        engine = deepspeed_config(root, zero)
        return run_ranks(ranks, shards=shards, run=run, deepspeed_config=engine, deadline=300, **{**knobs, **other})

    return train


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_from_shards_to_triples_interrupted_or_not(train, tmp_path, kind):
    """Both stages, with features in stage two, interrupted in each; then triples of a text."""
    train(kind, tmp_path / "whole", meddle=no_encoder_in_stage_two).ended(0)
    for stage, step in ((1, 4), (2, 9)):
        train(kind, tmp_path / "parts", meddle=partial(signal_before_update, signal.SIGUSR1, stage, step, 0)).ended(85)
    train(kind, tmp_path / "parts").ended(0)
    assert_same_results(tmp_path / "parts", tmp_path / "whole")
    extractor = Extractor.load(tmp_path / "whole/checkpoints/stage2/best")
    [found] = extractor.extract(TEXTS[:1], "de")
    [triple] = found["triples"]
    assert triple["relation"] in extractor.labels
    for entity in (triple["head"], triple["tail"]):
        assert TEXTS[0][entity["start"] : entity["end"]] == entity["text"] != ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mt5", "albert"])
def test_weights_that_are_used_twice_are_one_in_zero_3_too(train, tmp_path, kind):
    """mT5's embeddings have two names, and ALBERT's layers are one."""
    train(kind, tmp_path / "partitioned", ranks=2, zero=3, batch_size=4).ended(0)
    train(kind, tmp_path / "whole", ranks=2, batch_size=4).ended(0)
    for stage in (1, 2):
        losses = [[r["loss"] for r in records(tmp_path / run, stage=stage)] for run in ("partitioned", "whole")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        saved = weights(tmp_path / "partitioned", stage)
        assert len({tensor.data_ptr() for tensor in saved.values()}) == len(saved)
        assert not any(name.endswith("embed_tokens.weight") for name in saved)
        assert saved.keys() == weights(tmp_path / "whole", stage).keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mt5", "albert"])
def test_a_second_encoder_is_trained_and_loaded(train, tmp_path, kind):
    train(kind, tmp_path / "run", system="HERBERTa").ended(0)
    [found] = Extractor.load(tmp_path / "run/checkpoints/stage2/best").extract(TEXTS[:1], "de")
    assert found["triples"]


WITH_CPP = ("mt5",)
"""Families whose compiled layers are made to C++ too: the one that differs most from BERT."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_compiled_layers_have_the_same_loss_and_gradients(built, kind, monkeypatch):
    """Training with --compile is in tests/training/test_compile.py; here each architecture's layers. What is special
    of an architecture is how its graph is captured; making C++ of the graph takes most of the time, so that few do."""
    if kind not in WITH_CPP:
        monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="aot_eager"))
    batch, results = batch_of(built, kind), []
    for compiled in (True, False):
        model = model_of(built, kind).eval()
        if compiled:
            model.compile_encoder()
        loss_B = model(**batch).loss_B
        loss_B.sum().backward()
        results.append({"loss": loss_B, **{name: weight.grad for name, weight in model.named_parameters()}})
    torch._dynamo.reset()
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=1e-3, atol=1e-5, msg=name)
