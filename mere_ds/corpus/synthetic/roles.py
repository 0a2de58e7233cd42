"""The kinds of names that are head and tail of each label, and how many names each kind needs."""

LABEL_KINDS = {
    "birth-place": ("person", "place"),
    "eats": ("animal", "food"),
    "event-year": ("event", "year"),
    "first-product": ("org", "product"),
    "from-country": ("work", "country"),
    "has-author": ("book", "person"),
    "has-child": ("person", "person"),
    "has-edu": ("person", "university"),
    "has-genre": ("album", "genre"),
    "has-height": ("building", "height"),
    "has-highest-mountain": ("region", "mountain"),
    "has-length": ("river", "length"),
    "has-lifespan": ("animal", "lifespan"),
    "has-nationality": ("person", "nationality"),
    "has-occupation": ("person", "occupation"),
    "has-parent": ("person", "person"),
    "has-population": ("place", "population"),
    "has-sibling": ("person", "person"),
    "has-spouse": ("person", "person"),
    "has-tourist-attraction": ("place", "attraction"),
    "has-type": ("thing", "type"),
    "has-weight": ("animal", "weight"),
    "headquarters": ("org", "place"),
    "invented-by": ("invention", "person"),
    "invented-when": ("invention", "year"),
    "is-member-of": ("person", "club"),
    "is-where": ("site", "region"),
    "loc-leader": ("place", "person"),
    "movie-has-director": ("film", "person"),
    "no_relation": ("person", "place"),
    "org-has-founder": ("org", "person"),
    "org-has-member": ("alliance", "org"),
    "org-leader": ("org", "person"),
    "post-code": ("place", "postcode"),
    "starring": ("film", "person"),
    "won-award": ("person", "award"),
}

NUMBER_KINDS = frozenset({"year", "population", "height", "length", "weight", "lifespan", "postcode"})
OPEN_KINDS = frozenset({"person", "place", "org", "club", "event", "film", "book", "album", "work", "thing", "site"})
OPEN_KINDS |= {"university"}
CLOSED_KINDS = frozenset(kind for kinds in LABEL_KINDS.values() for kind in kinds) - OPEN_KINDS - NUMBER_KINDS

FEWEST_SURFACES = dict.fromkeys(OPEN_KINDS, 2000) | dict.fromkeys(CLOSED_KINDS, 25) | dict.fromkeys(NUMBER_KINDS, 25)
FEWEST_OF_OWN_KIND = 10
"""Minimum number of names in a kind that a language file defines itself and uses as head or tail (`person_f`, ...)."""
FEWEST_PATTERNS = 3
FEWEST_CLAUSES = {"before": 8, "after": 14, "aside": 8}
FEWEST_FACTS = 12
FEWEST_JOINS = 2
