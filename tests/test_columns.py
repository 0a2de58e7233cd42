from mere_ds.columns import align


def test_every_column_is_as_wide_as_its_widest_cell():
    lines = [["", "n", "meaning"], ["ab", "1,000,000", "x"], ["a long name", "7", ""]]
    assert align(lines, left=(0, 2)).splitlines() == [
        "                     n  meaning",
        "ab           1,000,000  x",
        "a long name          7",
    ]
    assert align([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"
    assert align([["a", "bb"], ["ccc", "d"]], left=()) == "  a  bb\nccc   d"
