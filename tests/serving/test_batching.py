"""Texts of many requests -> batches -> each request's own answers."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.serving.batching import Batcher, Failed, Limits, QueueFull
from mere_ds.serving.measures import Measures
from tests.serving.served import StandIn, answer_to


def batcher(its: StandIn, max_batch: int = 4, max_wait: float = 0.0, max_queue: int = 100) -> Batcher:
    return Batcher(its.compute, max_batch, max_wait, max_queue, Measures())


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.text("ab ", max_size=6), max_size=7),
        st.sampled_from([Limits(), Limits(0.5), Limits(0.0, 1)]),
    ),
    max_size=8,
)


@given(REQUESTS, st.integers(1, 5), st.booleans())
def test_each_request_gets_the_answers_to_its_own_texts(requests, max_batch, before):
    async def ask():
        jobs = [its.put(texts, ["de"] * len(texts), limits) for texts, limits in requests] if before else []
        its.start()
        jobs = jobs or [its.put(texts, ["de"] * len(texts), limits) for texts, limits in requests]
        return await asyncio.gather(*(job.answers for job in jobs))

    stand_in = StandIn()
    its = batcher(stand_in, max_batch)
    answers = asyncio.run(ask())
    its.close()
    assert answers == [[answer_to(text, "de", limits) for text in texts] for texts, limits in requests]
    assert sum(map(len, stand_in.batches)) == sum(len(texts) for texts, _ in requests)
    assert all(len(batch) <= max_batch for batch in stand_in.batches)


def test_what_waits_is_computed_together_in_order():
    async def ask():
        jobs = [its.put([f"text {n}"], ["de"], Limits()) for n in range(7)]
        its.start()
        await asyncio.gather(*(job.answers for job in jobs))

    stand_in = StandIn()
    its = batcher(stand_in, max_batch=4)
    asyncio.run(ask())
    its.close()
    assert stand_in.batches == [[f"text {n}" for n in range(4)], [f"text {n}" for n in range(4, 7)]]


def test_texts_that_wait_together_are_computed_with_those_of_like_length():
    async def ask():
        texts = ["a" * n for n in (9, 1, 8, 2, 7, 3)]
        job = its.put(texts, ["de"] * 6, Limits())
        its.start()
        return texts, await job.answers

    stand_in = StandIn()
    its = batcher(stand_in, max_batch=3)
    texts, answers = asyncio.run(ask())
    its.close()
    assert [answer["text"] for answer in answers] == texts
    assert [[len(text) for text in batch] for batch in stand_in.batches] == [[1, 2, 3], [7, 8, 9]]


def test_a_text_waits_for_others():
    """The batch is full before the time is over, or this test would take an hour."""

    async def ask():
        its.start()
        jobs = []
        for n in range(4):
            jobs.append(its.put([f"text {n}"], ["de"], Limits()))
            await asyncio.sleep(0)
        await asyncio.gather(*(job.answers for job in jobs))

    stand_in = StandIn()
    its = batcher(stand_in, max_batch=4, max_wait=3600)
    asyncio.run(ask())
    its.close()
    assert len(stand_in.batches) == 1


@pytest.mark.parametrize(("text", "said"), [("boom", "the server's log"), ("too large", "aren't finite")])
def test_a_text_that_cannot_be_computed_fails_its_own_request_alone(text, said, caplog):
    async def ask():
        jobs = [its.put(texts, ["de"] * len(texts), Limits()) for texts in (["a b"], ["c d", text, "e"], ["f g"])]
        its.start()
        return await asyncio.gather(*(job.answers for job in jobs), return_exceptions=True)

    its = batcher(StandIn(), max_batch=8)
    first, second, third = asyncio.run(ask())
    its.close()
    assert (first, third) == ([answer_to("a b", "de")], [answer_to("f g", "de")])
    assert isinstance(second, Failed) and said in str(second) and "secret" not in str(second)
    assert "could not be computed" in caplog.text


def test_a_full_queue_refuses_and_is_free_again():
    async def ask():
        job = its.put(["a b"] * 3, ["de"] * 3, Limits())
        with pytest.raises(QueueFull) as full:
            its.put(["c", "d"], ["de", "de"], Limits())
        assert 1 <= full.value.seconds <= 60
        its.start()
        await job.answers
        return await its.put(["c", "d"], ["de", "de"], Limits()).answers

    its = batcher(StandIn(), max_queue=4)
    assert len(asyncio.run(ask())) == 2
    its.close()


def test_what_nobody_waits_for_is_not_computed():
    async def ask():
        kept, dropped = (its.put([text], ["de"], Limits()) for text in ("a b", "c d"))
        its.drop(dropped)
        its.start()
        await kept.answers

    stand_in = StandIn()
    its = batcher(stand_in)
    asyncio.run(ask())
    its.close()
    assert stand_in.batches == [["a b"]]


def test_closing_computes_what_waits():
    async def ask():
        stand_in.may_go_on.clear()
        its.start()
        jobs = [its.put([f"text {n}"], ["de"], Limits()) for n in range(9)]
        await asyncio.to_thread(stand_in.is_computing.wait)
        closing = threading.Thread(target=its.close)
        closing.start()
        stand_in.may_go_on.set()
        answers = await asyncio.gather(*(job.answers for job in jobs))
        closing.join()
        return answers

    stand_in = StandIn()
    its = batcher(stand_in)
    assert [answer["text"] for (answer,) in asyncio.run(ask())] == [f"text {n}" for n in range(9)]
    assert not its.is_alive
