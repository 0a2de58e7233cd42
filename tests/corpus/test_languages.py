import pytest

from mere_ds.corpus.languages import GROUPS, SMILER_LANGUAGES, parse_languages, sort_languages
from mere_ds.errors import UserError


def test_groups_are_the_papers():
    assert len(SMILER_LANGUAGES) == len(set(SMILER_LANGUAGES)) == 14
    assert set(GROUPS["EURO"]) == {"it", "fr", "pt", "de", "es", "en"}
    assert set(SMILER_LANGUAGES) - set(GROUPS["SVO"]) == {"ko", "ar", "fa"}


@pytest.mark.parametrize(
    "choice, parsed",
    [
        ("all", "all"),
        ("ALL", "all"),
        (["all"], "all"),
        ("euro", ["it", "fr", "de", "pt", "en", "es"]),
        (("EURO", "uk"), ["it", "fr", "de", "pt", "en", "es", "uk"]),
        ("uk, DE,it", ["it", "de", "uk"]),
        (("fr", "de"), ["fr", "de"]),
        ("zz,aaa,uk", ["uk", "aaa", "zz"]),
    ],
)
def test_choices(choice, parsed):
    assert parse_languages(choice) == parsed


@pytest.mark.parametrize("choice", ["", (), "d", "german", "de,,fr", "d3", "all,de", (3,), "de;fr"])
def test_nonsense_is_refused(choice):
    with pytest.raises(UserError, match="--languages"):
        parse_languages(choice)


@pytest.mark.parametrize("choice", ["de,DE", "EURO,SVO", ("EURO", "de")])
def test_a_language_named_twice_is_refused(choice):
    with pytest.raises(UserError, match=r"de.* more than once"):
        parse_languages(choice)


def test_order_is_smilers_then_alphabetical():
    assert sort_languages({"aa", "uk", "zz", "it"}) == ["it", "uk", "aa", "zz"]
