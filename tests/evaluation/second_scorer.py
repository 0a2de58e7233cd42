"""A scorer of any number of triples written from the definition alone, and random answers to give to both.

Definition: a sentence's gold triples and found triples are sets, by their characters without blanks at the ends. A
found one is right by characters if it is gold; by tokens if a gold one that no other found one was right by has its
first and last token of head and tail. Micro F1 = 2 right / (found + gold) over all sentences; so for the pairs, heads,
tails and relations of the triples, as sets of their own.
"""

import random

WORDS = ("an", "bo", "cy", "du", "em")
TEXT = " ".join(WORDS)
RELATIONS = ("born-in", "wrote", "made-of")


def place(words: tuple[int, int]) -> list[int]:
    """The characters from one word to another."""
    first, last = words
    return [3 * first, 3 * last + 2]


def random_triple(draw: random.Random) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """A relation, and head and tail as first and last word."""
    spans = [tuple(sorted(draw.choices(range(len(WORDS)), k=2))) for _ in range(2)]
    return draw.choice(RELATIONS), *spans


def random_sentence(draw: random.Random) -> dict:
    """`{"gold", "found"}`: triples with characters and tokens; found ones are often gold, and none has the tokens of
    another."""
    gold, found = [], {}
    for _ in range(draw.choice((0, 0, 1, 2, 3, 7))):
        relation, head, tail = random_triple(draw)
        spans = [place(head), place(tail)]
        if draw.random() < 0.2 and spans[0][1] < len(TEXT):
            spans[0][1] += 1  # a blank at its end
        tokens = [None if draw.random() < 0.1 else span for span in (head, tail)]
        gold.append({"relation": relation, "head": spans[0], "tail": spans[1], "tokens": tokens})
    for _ in range(draw.choice((0, 1, 2, 4))):
        chosen = draw.choice(gold) if gold and draw.random() < 0.6 else None
        if chosen and None not in chosen["tokens"]:
            relation, (head, tail) = chosen["relation"], chosen["tokens"]
        else:
            relation, head, tail = random_triple(draw)
        spans = [place(head), place(tail)]
        if draw.random() < 0.1:
            spans[1][0] += 1  # characters of the first word are cut off
        found[relation, head, tail] = {"relation": relation, "head": spans[0], "tail": spans[1], "tokens": [head, tail]}
    return {"gold": gold, "found": list(found.values())}


PARTS = {
    "relation": lambda t, sides: t["relation"],
    "pair": lambda t, sides: sides,
    "head": lambda t, sides: sides[0],
    "tail": lambda t, sides: sides[1],
    "triple": lambda t, sides: (t["relation"], *sides),
}


def bare(triple: dict) -> tuple:
    sides = []
    for side in ("head", "tail"):
        start, end = triple[side]
        while TEXT[start] == " ":
            start += 1
        while TEXT[end - 1] == " ":
            end -= 1
        sides.append((start, end))
    return tuple(sides)


def second_counts(sentence: dict) -> dict[str, tuple[int, int, int]]:
    """Right, found and gold by metric."""
    counts = {}
    for part, of in PARTS.items():
        sets = {}
        for side in ("gold", "found"):
            sets[side] = {}
            for triple in sentence[side]:
                sets[side].setdefault(of(triple, bare(triple)), of(triple, tuple(triple["tokens"])))
        sizes = len(sets["found"]), len(sets["gold"])
        right = sum(key in sets["gold"] for key in sets["found"])
        if part == "relation":
            counts[part] = (right, *sizes)
            continue
        counts[f"{part}_characters"] = (right, *sizes)
        left, hits = [tokens for tokens in sets["gold"].values() if not lacks(tokens)], 0
        for tokens in sets["found"].values():
            if tokens in left:
                left.remove(tokens)
                hits += 1
        counts[part] = (hits, *sizes)
    return counts


def lacks(tokens) -> bool:
    return tokens is None or isinstance(tokens, tuple) and None in tokens
