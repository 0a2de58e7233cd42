"""Marks, blanks and masks: where they stand, and how many there are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.pretraining.batches import MARKS, Collator
from mere_ds.pretraining.pairing import BatchRows, Pairing
from mere_ds.pretraining.statements import FRAME, entity_key, read_statements, train_corpus

MAX_LENGTH = 60


@pytest.fixture(scope="module")
def tokenizer(wee):
    return load_tokenizer(wee)


@pytest.fixture(scope="module")
def said(retold, tokenizer):
    return read_statements(train_corpus(retold), tokenizer, MAX_LENGTH, False)


def collator(said, tokenizer, blank=0.7, mask=0.15, seed=0):
    return Collator(said, tokenizer, len(tokenizer), blank, mask, seed)


def names(tokenizer, ids):
    """Tokens of a sequence; the marks lie behind the vocabulary."""
    return [MARKS[i - len(tokenizer)] if i >= len(tokenizer) else tokenizer.convert_ids_to_tokens(i) for i in ids]


def test_spans_are_the_entities_word_pieces(said, tokenizer):
    for row in np.flatnonzero(said.marked)[::7]:
        head_start, head_end, tail_start, tail_end = said.spans[row]
        words = said.words(row)
        head, tail = (
            entity_key("".join(t.removeprefix("##") for t in tokenizer.convert_ids_to_tokens(words[a:b])))
            for a, b in ((head_start, head_end), (tail_start, tail_end))
        )
        label, reverse = head[:-1], tail[:-1]  # the corpus' entities are LABEL A and LEBAL A
        assert "[unk]" in head + tail or label == reverse[::-1]


def test_what_is_not_taken_as_it_stands_is_counted(said, retold, tokenizer):
    assert said.notes["unmarked"] == (~said.marked).sum() > 0
    assert said.notes["shortened"] > 0
    assert max(np.diff(said.ends)) == MAX_LENGTH - FRAME
    corpus = train_corpus(retold, "de")
    twice = read_statements(replace(corpus, files=[*corpus.files] * 2), tokenizer, MAX_LENGTH, False)
    assert twice.notes["repeated"] == len(twice)


def test_marks_stand_around_the_words_and_blanks_in_their_place(said, tokenizer):
    rows = np.flatnonzero(said.marked)[:16]
    for blank in (0.0, 1.0):
        batch = collator(said, tokenizer, blank=blank, mask=0.0)(BatchRows(rows, True), 0)
        for i, row in enumerate(rows):
            ids = batch.token_ids_BM[i][batch.mask_BM[i]].tolist()
            tokens = names(tokenizer, ids)
            assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
            for which in range(2):
                opened, closed = MARKS[2 * which : 2 * which + 2]
                start = batch.starts_B2[i, which].item()
                assert tokens[start] == opened and tokens.count(opened) == tokens.count(closed) == 1
                inner = ids[start + 1 : tokens.index(closed)]
                first, last = said.spans[row, 2 * which : 2 * which + 2]
                assert names(tokenizer, inner) == ["[BLANK]"] if blank else inner == said.words(row)[first:last]
            if not blank:
                assert [x for x in ids[1:-1] if x < len(tokenizer)] == said.words(row)


def test_blanks_are_as_frequent_as_asked(said, tokenizer):
    rows = np.flatnonzero(said.marked)
    batch = collator(said, tokenizer, blank=0.7, mask=0.0)(BatchRows(rows, True), 0)
    blanks, entities = (batch.token_ids_BM == len(tokenizer) + MARKS.index("[BLANK]")).sum().item(), 2 * len(rows)
    assert abs(blanks - 0.7 * entities) < 5 * np.sqrt(entities * 0.7 * 0.3)


def test_words_are_masked_in_the_usual_shares_and_nothing_else_is(said, tokenizer):
    hiding = collator(said, tokenizer)
    ids = np.tile(np.arange(len(tokenizer) + len(MARKS)), (200, 1))
    shown, masked = hiding.hide(ids, np.random.default_rng(0))
    words = np.isin(ids, hiding.words)
    assert set(tokenizer.all_special_ids).isdisjoint(hiding.words) and max(hiding.words) < len(tokenizer)
    assert not masked[~words].any()
    assert (shown[~masked] == ids[~masked]).all()

    def about(count, of, share):
        return abs(count - share * of) < 5 * np.sqrt(of * share * (1 - share))

    of, hidden = masked.sum(), shown[masked] == tokenizer.mask_token_id
    same, other = shown[masked] == ids[masked], shown[masked][~hidden & (shown[masked] != ids[masked])]
    chance = 1 / len(hiding.words)  # that the drawn word is the word itself
    assert about(of, words.sum(), 0.15)
    assert about(hidden.sum(), of, 0.8)
    assert about(len(other), of, 0.1 * (1 - chance))
    assert about(same.sum(), of, 0.1 * (1 + chance))
    assert np.isin(other, hiding.words).all()


def test_targets_are_what_stood_at_the_masked_places(said, tokenizer):
    rows = BatchRows(np.arange(8), False)
    plain, masked = (collator(said, tokenizer, blank=1.0, mask=mask)(rows, 3) for mask in (0.0, 0.5))
    assert len(plain.targets_N) == 0 < len(masked.targets_N)
    assert torch.equal(plain.token_ids_BM.flatten()[masked.masked_N], masked.targets_N)
    assert plain.starts_B2 is None and plain.groups_B is None


def test_a_batch_depends_on_seed_and_step_alone(said, tokenizer):
    batch = next(batch for batch in Pairing(said).epoch(8, 0, 0) if batch.matched)
    first, second = collator(said, tokenizer), collator(said, tokenizer)
    second(batch, 0)
    assert torch.equal(first(batch, 5).token_ids_BM, second(batch, 5).token_ids_BM)
    assert not torch.equal(first(batch, 5).masked_N, first(batch, 6).masked_N)
    assert not torch.equal(first(batch, 5).masked_N, collator(said, tokenizer, seed=1)(batch, 5).masked_N)


def test_a_tokenizer_without_a_mask_token_is_refused(said, wee):
    tokenizer = load_tokenizer(wee)
    tokenizer.mask_token = None
    with pytest.raises(UserError, match="no mask token"):
        collator(said, tokenizer)


def test_names_are_compared_without_case_width_and_spacing():
    assert entity_key("ＳＴＲＡẞＥ\u00a0 eins") == entity_key("strasse EINS")
    assert entity_key("Köln") == entity_key("Ko\u0308ln") != entity_key("Koln")
