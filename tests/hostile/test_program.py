"""A sample of all kinds by the installed program: what a forked child does is what the program does."""

from dataclasses import replace
from itertools import chain

from tests.hostile import contents, corpora, damage, lines, settings, texts
from tests.hostile.children import program

EVERY = 150
_ALL = list(chain(*(module.cases() for module in (damage, contents, corpora, lines, settings, texts))))
CASES = [replace(case, kind="program") for case in _ALL[::EVERY]]


def test_program(case, hold, record_property):
    verdict, wrong = hold(case, program)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
