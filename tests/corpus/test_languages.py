import pytest

from mere_ds.corpus.languages import GROUPS, SMILER_LANGUAGES, choose_languages, parse_languages, sort_languages
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


@pytest.mark.parametrize(
    "choice, chosen, lacking",
    [
        ("all", ["ko", "de", "en", "uk"], []),
        ("euro", ["de", "en"], ["it", "fr", "pt", "es"]),
        ("EURO,ko", ["ko", "de", "en"], ["it", "fr", "pt", "es"]),
        ("uk, DE", ["de", "uk"], []),
    ],
)
def test_a_choice_among_what_is_there(choice, chosen, lacking):
    assert choose_languages(choice, ["ko", "de", "en", "uk"]) == (chosen, lacking)


@pytest.mark.parametrize("choice, absent", [("de,fr", "fr"), ("EURO,SV", "sv"), ("EURO,zz,aa", "aa, zz")])
def test_a_named_language_that_is_not_there_is_refused(choice, absent):
    with pytest.raises(UserError, match=f"--languages: the shards contain no {absent}, only ko, de$"):
        choose_languages(choice, ["ko", "de"])


def test_a_group_of_which_nothing_is_there_is_refused():
    with pytest.raises(UserError, match="the shards contain no it, fr, de, pt, en, es, only ko$"):
        choose_languages("EURO", ["ko"])


def test_order_is_smilers_then_alphabetical():
    assert sort_languages({"aa", "uk", "zz", "it"}) == ["it", "uk", "aa", "zz"]
