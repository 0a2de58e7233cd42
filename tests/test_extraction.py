"""Any number of triples a text from what a model finds: threshold, order, limits, and no triple."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds import flags
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.cli import COMMANDS
from mere_ds.encoders.sources import TinySize, build_encoder, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.inference import BATCH_COST, Extractor, batches_of
from mere_ds.model.calibration import Calibration, Curve
from mere_ds.model.triple import MereOutput
from mere_ds.shards.encoding import SentenceEncoder

LABELS = ["born-in", "wrote"]
TEXTS = ["berlin gau dorf stein", "berlin gau", "dorf stein gau"]


class Finder:
    """A model that finds these triples, (label, positions, raw score), in every sentence, the lowest score first."""

    def __init__(self, *found: tuple[int, list[int], float], triples: str = "many") -> None:
        self.config = SimpleNamespace(languages=["de", "ko"], labels=LABELS, triples=triples, max_length=32)
        self.device = torch.device("cpu")
        self.found = sorted(found, key=lambda triple: triple[2])

    def __call__(self, token_ids_BM, mask_BM, languages_B) -> MereOutput:
        B, found = len(mask_BM), self.found
        positions_F4 = torch.tensor([positions for _, positions, _ in found] * B).reshape(-1, 4)
        score_F = torch.tensor([score for *_, score in found] * B)
        return MereOutput(
            sentence_F=torch.arange(B).repeat_interleave(len(found)),
            relation_F=torch.tensor([label for label, *_ in found] * B, dtype=torch.long),
            relation_probability_F=score_F,
            positions_F4=positions_F4,
            score_F=score_F,
            cuts_F4=torch.zeros_like(positions_F4),
        )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> SentenceEncoder:
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    size = TinySize(hidden=8, layers=1, heads=1, vocabulary=60)
    build_encoder("tiny", folder, lambda: TEXTS * 3, ["de", "ko"], tiny=size)
    return SentenceEncoder(load_tokenizer(folder), ["de", "ko"], 32)


@pytest.fixture
def extractor(encoder):
    def make(*found, triples: str = "many", **options) -> Extractor:
        return Extractor(TorchBackend(Finder(*found, triples=triples)), encoder, **options)

    return make


FOUND = (0, [2, 2, 3, 3], 0.9), (1, [2, 2, 3, 3], 0.6), (1, [3, 3, 2, 2], 0.3)


def told(extractor: Extractor) -> list[list[tuple[str, float]]]:
    return [
        [(triple["relation"], triple["score"]) for triple in answer["triples"]]
        for answer in extractor.extract(TEXTS, "de")
    ]


@pytest.mark.parametrize("triples", ["one", "many"])
def test_negative_labels_are_no_triples(extractor, triples):
    found = FOUND if triples == "many" else FOUND[:1]
    others = [("wrote", 0.6)] if triples == "many" else []
    assert told(extractor(*found, triples=triples, negative_labels=("born-in", "NA"))) == [others] * 3
    assert told(extractor(*found, triples=triples)) == [[("born-in", 0.9), *others]] * 3
    best = extractor(*FOUND, negative_labels=("born-in",), max_triples=1)
    assert told(best) == [[("wrote", 0.6)]] * 3, "what is left out doesn't count"


def test_what_reaches_the_threshold_is_given_the_highest_score_first(extractor):
    two = [[("born-in", 0.9), ("wrote", 0.6)]] * 3
    assert told(extractor(*FOUND)) == two, "0.5 where the model has no threshold of its own"
    assert told(extractor(*FOUND, calibration=Calibration(0.61))) == [[("born-in", 0.9)]] * 3
    assert told(extractor(*FOUND, calibration=Calibration(0.61), min_score=0.5)) == two
    assert [len(its) for its in told(extractor(*FOUND, min_score=0.0))] == [3] * 3
    assert told(extractor(*FOUND, max_triples=1)) == [[("born-in", 0.9)]] * 3


def test_scores_are_calibrated_before_they_are_compared(extractor):
    calibration = Calibration(0.5, Curve(1.0, -1.0), {"ko": Curve(1.0, 5.0)})
    answers = told(extractor(*FOUND, calibration=calibration))
    assert answers == [[("born-in", pytest.approx(1 / (1 + torch.tensor(1.0).exp().item() / 9), abs=1e-6))]] * 3


class OneALanguage(Finder):
    """Finds in each sentence a triple whose label is the number of the language that it is given."""

    def __call__(self, token_ids_BM, mask_BM, languages_B) -> MereOutput:
        output = super().__call__(token_ids_BM, mask_BM, languages_B)
        output.relation_F = languages_B.clone()
        return output


def test_each_text_has_its_own_language(encoder):
    calibration = Calibration(0.0, Curve(), {"ko": Curve(1.0, 1.0)})
    extractor = Extractor(TorchBackend(OneALanguage(FOUND[0])), encoder, calibration)
    languages = ["ko", "de", "ko"]
    answers = list(extractor.extract(iter(TEXTS), iter(languages)))
    alone = [answer for pair in zip(TEXTS, languages, strict=True) for answer in extractor.extract([pair[0]], pair[1])]
    assert answers == alone == extractor.answers(TEXTS, languages)
    assert [(answer["lang"], answer["triples"][0]["relation"]) for answer in answers] == [
        ("ko", "wrote"),
        ("de", "born-in"),
        ("ko", "wrote"),
    ]
    assert len({answer["triples"][0]["score"] for answer in answers}) == 2, "calibrated by language"


@pytest.mark.parametrize("languages", [["de"], ["de"] * 4, ["de", "fr", "de"], "fr"])
def test_languages_that_do_not_fit_are_refused(extractor, languages):
    with pytest.raises(UserError, match="pass one for each text|language 'fr' is unknown to this model: use one of"):
        list(extractor(*FOUND).extract(TEXTS, languages))


def test_a_text_with_no_triple(extractor):
    for none in (extractor(), extractor(*FOUND, min_score=0.95)):
        (answer,) = none.extract(["berlin gau"], "de")
        assert answer == {"text": "berlin gau", "lang": "de", "triples": []}


def test_equal_triples_are_given_once(extractor):
    twice = (0, [2, 2, 3, 3], 0.9), (0, [2, 2, 3, 3], 0.8), (1, [2, 2, 3, 3], 0.7)
    assert told(extractor(*twice)) == [[("born-in", 0.9), ("wrote", 0.7)]] * 3
    assert told(extractor(*twice, max_triples=2)) == [[("born-in", 0.9), ("wrote", 0.7)]] * 3


def test_a_model_of_one_triple_gives_it_whatever_its_score(extractor):
    low = (0, [2, 2, 3, 3], 0.01)
    shifted = Calibration(0.5, Curve(1.0, 9.0))
    assert told(extractor(low, triples="one", calibration=shifted)) == [[("born-in", 0.01)]] * 3
    assert told(extractor(low, triples="one", min_score=0.02)) == [[]] * 3


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--min_score=1.5", "--min_score=1.5: must be between 0 and 1"),
        ("--min_score=nan", "--min_score=nan: must be between 0 and 1"),
        ("--max_triples=0", "--max_triples=0: must be at least 1"),
    ],
)
def test_limits_that_no_answer_can_keep_are_refused(argument, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        flags.run(COMMANDS, ["extract", str(tmp_path), "Ein Satz.", "--lang=de", argument], "mere-ds")
    said = capsys.readouterr().err
    assert ended.value.code == 2 and says in said and said.count("\n") == 1
    with pytest.raises(UserError, match="must be"):
        name, value = argument.removeprefix("--").split("=")
        Extractor.load(tmp_path, **{name: float(value)})


@given(st.lists(st.integers(1, 512), max_size=200).map(sorted), st.integers(1, 64))
def test_batches_hold_every_row_once_and_cost_no_more_than_those_of_full_size(lengths, most):
    def cost(batches: list[slice]) -> int:
        return sum(BATCH_COST + max(lengths[its]) * len(lengths[its]) for its in batches)

    batches = list(batches_of(lengths, most, BATCH_COST))
    assert [i for its in batches for i in range(len(lengths))[its]] == [*range(len(lengths))]
    assert all(1 <= len(lengths[its]) <= most for its in batches)
    assert cost(batches) <= cost([slice(start, start + most) for start in range(0, len(lengths), most)])


def test_what_needs_no_padding_is_not_split():
    assert [*batches_of([*range(10, 300)], 200, None)] == [slice(0, 200), slice(200, 290)]


def test_a_long_text_does_not_widen_a_batch_of_short_ones():
    assert [*batches_of([10] * 31 + [206], 32, BATCH_COST)] == [slice(0, 31), slice(31, 32)]
    assert [*batches_of([*range(10, 42)], 64, BATCH_COST)] == [slice(0, 16), slice(16, 32)]
    assert [*batches_of([*range(10, 18)] * 1, 64, BATCH_COST)] == [slice(0, 8)]
