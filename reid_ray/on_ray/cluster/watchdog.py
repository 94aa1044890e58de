"""Say what is waited for where nothing moves, so that nobody waits for ever without a word."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_S = 60.0


@contextmanager
def watchdog(
    say: Callable[[str], None], waiting_for: Callable[[], str], *, quiet_s: float = QUIET_S
) -> Iterator[Callable[[], None]]:
    """Inside, call what is yielded on every progress; after `quiet_s` seconds without, it is told.

    It is told again after twice as long, and so on. Whoever is slow, as an epoch of ten minutes, is told as
    well: the sentence says what runs and what is free, not that something is wrong.

    Args:
        waiting_for: what is waited for, asked when it is told; called from another thread.
    """
    moved, ended = threading.Event(), threading.Event()

    def watch() -> None:
        patience = quiet_s
        while not ended.is_set():
            if moved.wait(patience):
                moved.clear()
                patience = quiet_s
            elif not ended.is_set():
                say(f"nothing has finished for {patience:.0f} s: {waiting_for()}")
                patience *= 2

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield moved.set
    finally:
        ended.set()
        moved.set()
        thread.join()
