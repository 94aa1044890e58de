"""Batches come in order, and are cut ahead where threads are given."""

import threading
import time

import pytest

from reid_ray.embedding.feeding import AHEAD, Waiting, ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("batches", [0, 1, 2, 20])
def test_batches_come_in_order_whoever_is_first(batches: int, threads: int) -> None:
    def cut(number: int) -> int:
        time.sleep(0.003 if number % 2 else 0)
        return number

    assert list(ahead(cut, batches, threads=threads)) == list(range(batches))


def test_no_more_than_the_stated_number_waits() -> None:
    begun: list[int] = []

    def cut(number: int) -> int:
        begun.append(number)
        return number

    items = ahead(cut, 100, threads=2)
    next(items)
    time.sleep(0.1)
    assert len(begun) == 2 * AHEAD + 1
    items.close()  # type: ignore[attr-defined]


def test_the_next_batch_is_cut_while_the_consumer_works() -> None:
    def cut(number: int) -> int:
        time.sleep(0.02)
        return number

    batches = Waiting(ahead(cut, 10, threads=1))
    for _ in batches:
        time.sleep(0.04)
    assert batches.waited < 0.1  # the first batch only; 0.2 without a thread
    assert batches.seconds >= 0.4


def test_a_failing_cut_reaches_the_consumer_and_ends_the_threads() -> None:
    def cut(number: int) -> int:
        if number == 3:
            raise ValueError("photo 3")
        return number

    with pytest.raises(ValueError, match="photo 3"):
        list(ahead(cut, 10, threads=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cut")]
