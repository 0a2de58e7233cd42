"""Made-up predictions, as `mere-ds evaluate` writes them."""

from hypothesis import strategies as st

from mere_ds.evaluation.triple_sets import from_json, right_counts, unequal
from tests.evaluation.second_scorer import TEXT

LABELS = ("no_relation", "born-in", "wrote")


def record(language: str, gold: str | None, predicted: str | None, spans: str = "", id: str = "0") -> dict:
    """A sentence; `spans` names the entities that are right: "", "h", "t" or "ht", in capitals those that are right by
    tokens alone. None: not read, no answer."""
    same, answered = gold == predicted, predicted is not None
    right = {"relation": same}
    for ending, found in (("", spans.lower()), ("_characters", spans)):
        head, tail = answered and "h" in found, answered and "t" in found
        right |= {f"head{ending}": head, f"tail{ending}": tail, f"pair{ending}": head and tail}
        right[f"triple{ending}"] = same and head and tail
    if gold is None:
        return {"lang": language, "text": None, "gold": None, "predicted": None, "right": [], "reason": "not read"}
    answer = {"relation": predicted, "probability": 0.5, "head": [0, 1], "tail": [2, 3], "score": 0.1}
    return {
        "id": id,
        "lang": language,
        "text": "a b",
        "gold": {"relation": gold, "head": [0, 1], "tail": [2, 3]},
        "predicted": None if predicted is None else answer,
        "right": [metric for metric, value in right.items() if value],
    }


@st.composite
def records(draw, languages=("de", "ko"), most: int = 25) -> list[dict]:
    """Sentences of some languages, the last of them perhaps missed."""
    sentence = st.builds(
        record,
        st.sampled_from(languages),
        st.sampled_from(LABELS),
        st.sampled_from((*LABELS, None)),
        st.sampled_from(("", "h", "t", "ht", "H", "Ht", "HT")),
    )
    missed = st.builds(record, st.sampled_from(languages), st.none(), st.none())
    return draw(st.lists(sentence, min_size=1, max_size=most)) + draw(st.lists(missed, max_size=3))


def answers(triples: str, language: str = "de", label: str = "wrote") -> list[dict]:
    """Sentences whose triples are right ("1"), by tokens alone ("t"), wrong ("0") or not there ("-")."""
    spans = {"1": (label, "ht"), "t": (label, "hT"), "0": (label, ""), "-": (None, "")}
    return [record(language, label, *spans[mark], id=str(i)) for i, mark in enumerate(triples)]


def many_record(sentence: dict, language: str = "de", id: str = "0") -> dict:
    """A sentence of `second_scorer` with any number of triples; scores fall from 0.9 on."""
    sides = {}
    for side in ("gold", "found"):
        triples = [
            named._replace(head_tokens=triple["tokens"][0], tail_tokens=triple["tokens"][1])
            for named, triple in zip(from_json(TEXT, sentence[side]), sentence[side], strict=True)
        ]
        own = unequal(triples)
        sides[side] = [triples[i] for i in own], [sentence[side][i] for i in own]
    (gold, gold_json), (found, found_json) = sides["gold"], sides["found"]
    return {
        "id": id,
        "lang": language,
        "text": TEXT,
        "gold": [{name: triple[name] for name in ("relation", "head", "tail")} for triple in gold_json],
        "predicted": [
            {**{name: triple[name] for name in ("relation", "head", "tail")}, "score": round(0.9 - i / 10, 6)}
            for i, triple in enumerate(found_json)
        ],
        "right": right_counts(gold, found),
    }
