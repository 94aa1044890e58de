"""Have the next batches ready while the model works on this one.

In: a function that cuts batch i. Out: the batches in order, cut by background threads where there
are any.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

T = TypeVar("T")

AHEAD = 2
"""Batches that may wait per thread; more only takes memory."""


def ahead(cut: Callable[[int], T], batches: int, *, threads: int) -> Iterator[T]:
    """`cut(0)`, `cut(1)`, ... up to `batches`, always in this order.

    Threads are enough, as the compiled loops leave Python's lock while they work.

    Args:
        threads: 0 cuts each batch when it is asked for.
    """
    # Each thread is one core's work; OpenCV would start as many of its own again.
    cv2.setNumThreads(1)
    if threads == 0:
        yield from map(cut, range(batches))
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="cut") as pool:
        jobs = (pool.submit(cut, number) for number in range(batches))
        waiting = deque(islice(jobs, AHEAD * threads))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(islice(jobs, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


class Waiting(Iterator[T]):
    """An iterator that counts the time its consumer waited for items, and all time since the first.

    Attributes:
        waited: seconds inside this iterator.
        seconds: from the first request to the last.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._started: float | None = None
        self.waited = 0.0
        self.seconds = 0.0

    def __next__(self) -> T:
        asked = time.perf_counter()
        self._started = asked if self._started is None else self._started
        try:
            return next(self._items)
        finally:
            now = time.perf_counter()
            self.waited += now - asked
            self.seconds = now - self._started
