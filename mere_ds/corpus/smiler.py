"""Statistics of SMiLER, and a check whether a corpus may be SMiLER.

Sources: sentence counts by language are those of Table 1 of the mERE paper; labels by language and the counts of each
label over all rows are those of the SMiLER corpus (Seganti et al., Multilingual Entity and Relation Extraction Dataset
and Model, EACL 2021).
"""

from collections.abc import Iterable

SENTENCES = {
    "it": 76000,
    "fr": 62000,
    "de": 53000,
    "pt": 45000,
    "nl": 40000,
    "ko": 20000,
    "pl": 17000,
    "es": 12000,
    "ar": 9000,
    "ru": 7000,
    "sv": 5000,
    "fa": 3000,
    "uk": 1000,
}
ENGLISH_SENTENCES = {"small": 35000, "mid": 269000, "full": 748000}

LABEL_COUNTS = {
    "is-where": 213255,
    "birth-place": 181345,
    "has-type": 170311,
    "movie-has-director": 150585,
    "has-occupation": 142395,
    "from-country": 107107,
    "has-genre": 90415,
    "has-author": 67511,
    "has-population": 47657,
    "headquarters": 34948,
    "is-member-of": 34100,
    "org-has-member": 32233,
    "org-has-founder": 15460,
    "has-parent": 15266,
    "has-spouse": 10167,
    "has-edu": 8094,
    "won-award": 8033,
    "org-leader": 7956,
    "no_relation": 6573,
    "has-nationality": 6087,
    "starring": 5420,
    "event-year": 5245,
    "has-child": 5218,
    "has-sibling": 1758,
    "has-length": 1292,
    "invented-when": 1135,
    "has-tourist-attraction": 1030,
    "has-lifespan": 992,
    "has-highest-mountain": 971,
    "has-height": 958,
    "first-product": 955,
    "invented-by": 908,
    "has-weight": 872,
    "loc-leader": 711,
    "post-code": 568,
    "eats": 214,
}

_NEAR = (0.05, 1000)
"""Table 1 is in thousands: tolerance as a share of a language's rows, or as a number of rows."""


def unlike_smiler(labels: Iterable[str], rows: dict[str, int]) -> str | None:
    """How a corpus differs from SMiLER or from a subset of its languages; None if labels, languages and `rows` by
    language (training and test file together) are SMiLER's."""
    if strange := sorted(set(labels) - LABEL_COUNTS.keys()):
        return f"SMiLER has no label {strange[0]!r}"
    for language, here in rows.items():
        sizes = ENGLISH_SENTENCES.values() if language == "en" else [SENTENCES.get(language, 0)]
        if not any(abs(here - size) <= max(_NEAR[0] * size, _NEAR[1]) for size in sizes if size):
            there = " or ".join(f"{size:,}" for size in sizes if size) or "no"
            return f"its files have {here:,} rows of {language}, SMiLER's {'about ' * (there != 'no')}{there}"
    return None
