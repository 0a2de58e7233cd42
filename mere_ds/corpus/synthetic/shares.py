"""The number of sentences per language and label of a synthetic corpus, proportional to SMiLER's."""

from collections.abc import Sequence

from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.corpus.smiler import ENGLISH_SENTENCES, LABEL_COUNTS, SENTENCES

_ENGLISH_ONLY = {"eats", "has-height", "has-length", "has-lifespan", "has-weight", "post-code", "starring"}
_ENGLISH_AND_KOREAN = {
    "first-product",
    "has-highest-mountain",
    "has-nationality",
    "has-sibling",
    "has-tourist-attraction",
    "invented-by",
    "invented-when",
}
_COMMON = set(LABEL_COUNTS) - _ENGLISH_ONLY - _ENGLISH_AND_KOREAN
_SMALL = {"event-year", "has-edu", "has-genre", "has-occupation", "has-population", "has-type", "no_relation"}
_LABEL_SETS = {
    "en": set(LABEL_COUNTS),
    "ko": (_COMMON | _ENGLISH_AND_KOREAN) - {"loc-leader"},
    "pl": _COMMON - {"no_relation"},
    "es": _COMMON - {"org-leader"},
    "ar": _SMALL | {"is-member-of", "won-award"},
    "ru": _SMALL | {"is-member-of"},
    "fa": _SMALL | {"is-member-of"},
    "uk": _SMALL,
}
LABELS = {code: tuple(sorted(_LABEL_SETS.get(code, _COMMON))) for code in SMILER_LANGUAGES}
"""The labels of each language: 36 in English, 28 in Korean, 7 in Ukrainian."""

TEST_SHARE = 0.02
FEWEST_TEST = 20
FEWEST_TRAIN_OF_LABEL = 3


def apportion(total: int, weights: Sequence[float], floors: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `weights` by largest remainders, with minimum values `floors`; the sum is exact.

    If `total` is less than the sum of the floors, it is split in proportion to the floors instead.
    """
    if total < sum(floors):
        return apportion(total, floors, [0] * len(floors))
    bound: set[int] = set()
    while True:
        free = [index for index in range(len(weights)) if index not in bound]
        rest, weight = total - sum(floors[index] for index in bound), sum(weights[index] for index in free)
        quotas = {index: rest * weights[index] / weight for index in free}
        short = {index for index in free if quotas[index] < floors[index]}
        if not short:
            break
        bound |= short
    shares = [floors[index] if index in bound else int(quotas[index]) for index in range(len(weights))]
    by_remainder = sorted(free, key=lambda index: (int(quotas[index]) - quotas[index], index))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def split_sizes(
    sentences: int, languages: Sequence[str], english: str, at_least: int = 0
) -> dict[str, tuple[int, int]]:
    """{language: (train, test)} sentences, exactly `sentences` in total.

    Each language gets its share of Table 1, but at least `at_least` sentences, 20 test sentences and three training
    sentences per label if `sentences` is enough for that. Test is 2.0 % of a language, but at least 20 sentences if
    training keeps its minimum.
    """
    table = SENTENCES | {"en": ENGLISH_SENTENCES[english]}
    floors = [max(at_least, FEWEST_TEST + FEWEST_TRAIN_OF_LABEL * len(LABELS[code])) for code in languages]
    totals = apportion(sentences, [table[code] for code in languages], floors)
    sizes = {}
    for code, total in zip(languages, totals, strict=True):
        spare = max(total - FEWEST_TRAIN_OF_LABEL * len(LABELS[code]), total // 5)
        test = max(round(total * TEST_SHARE), min(FEWEST_TEST, spare))
        sizes[code] = (total - test, test)
    return sizes


def label_sizes(code: str, sentences: int, floor: int) -> dict[str, int]:
    """{label: sentences} of one file by SMiLER's label counts, at least `floor` per label if `sentences` is enough."""
    labels = LABELS[code]
    counts = apportion(sentences, [LABEL_COUNTS[label] for label in labels], [floor] * len(labels))
    return dict(zip(labels, counts, strict=True))
