import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.languages import (
    GROUPS,
    SMILER_LANGUAGES,
    choose_languages,
    language_code,
    main_language,
    parse_languages,
    shared_id,
    sort_languages,
)
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
        ("PT-br,zh_hant,pt", ["pt", "pt-BR", "zh-Hant"]),
    ],
)
def test_choices(choice, parsed):
    assert parse_languages(choice) == parsed


@pytest.mark.parametrize(
    "choice", ["", (), "d", "german", "de,,fr", "d3", "all,de", (3,), "de;fr", "de-", "pt-Brasilianisch"]
)
def test_nonsense_is_refused(choice):
    with pytest.raises(UserError, match="--languages"):
        parse_languages(choice)


@pytest.mark.parametrize("choice", ["de,DE", "EURO,SVO", ("EURO", "de"), "de-AT,de_at,de"])
def test_a_language_named_twice_is_refused(choice):
    with pytest.raises(UserError, match=r"de.* more than once"):
        parse_languages(choice)


@pytest.mark.parametrize(
    "choice, chosen, lacking",
    [
        ("all", ["ko", "de", "en", "uk", "pt-BR"], []),
        ("euro", ["de", "en"], ["it", "fr", "pt", "es"]),
        ("EURO,ko", ["ko", "de", "en"], ["it", "fr", "pt", "es"]),
        ("uk, DE", ["de", "uk"], []),
        ("UK,pt_br", ["uk", "pt-BR"], []),
    ],
)
def test_a_choice_among_what_is_there(choice, chosen, lacking):
    assert choose_languages(choice, ["ko", "de", "en", "uk", "pt-BR"]) == (chosen, lacking)


@pytest.mark.parametrize(
    "choice, absent", [("de,fr", "fr"), ("EURO,SV", "sv"), ("EURO,zz,aa", "aa, zz"), ("DE-at,de", "de-AT")]
)
def test_a_named_language_that_is_not_there_is_refused(choice, absent):
    with pytest.raises(UserError, match=f"--languages: the shards contain no {absent}, only ko, de$"):
        choose_languages(choice, ["ko", "de"])


def test_a_group_of_which_nothing_is_there_is_refused():
    with pytest.raises(UserError, match="the shards contain no it, fr, de, pt, en, es, only ko$"):
        choose_languages("EURO", ["ko"])


def test_order_is_smilers_then_alphabetical():
    assert sort_languages({"aa", "uk", "zz", "it"}) == ["it", "uk", "aa", "zz"]


@pytest.mark.parametrize(
    "given, code",
    [
        *(
            ("de", "de"),
            ("DE", "de"),
            ("Ast", "ast"),
            ("pt-br", "pt-BR"),
            ("PT_BR", "pt-BR"),
            ("zh-HANT-tw", "zh-Hant-TW"),
        ),
        *(
            ("es-419", "es-419"),
            ("de-1996", "de-1996"),
            ("sl-ROZAJ", "sl-rozaj"),
            ("en-ca-x-CA-Hant", "en-CA-x-ca-hant"),
        ),
        *(
            (code, None)
            for code in ("", "d", "german", "de-", "-de", "de--at", "pt BR", "dé", "d3", "de-abcdefghi", "de\n")
        ),
    ],
)
def test_codes_have_one_spelling_whatever_their_case(given, code):
    assert language_code(given) == code


@given(st.from_regex(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,5}", fullmatch=True))
def test_a_spelling_is_that_of_all_its_variants(text):
    code = language_code(text)
    assert code and {language_code(x) for x in (code, text.lower(), text.upper(), text.replace("_", "-"))} == {code}
    assert main_language(code) == text[: len(main_language(code))].lower()


def test_the_id_of_translations_has_no_language_in_front():
    ids = {"de": ["de-7", "DE-7", "7"], "pt-BR": ["pt-BR-7", "pt-br-7", "7"]}
    assert {shared_id(id, language) for language, its in ids.items() for id in its} == {"7"}
    assert [shared_id(id, "de") for id in ("fr-7", "de7", "de", "de-AT-7")] == ["fr-7", "de7", "de", "AT-7"]
    assert shared_id("pt-7", "pt-BR") == "pt-7"
