"""End on SIGTERM, from a scheduler or `docker stop`, exactly as on Ctrl-C."""

import signal
import threading
from types import FrameType

SIGTERM_EXIT_CODE = 143
"""128 + the signal's number, as a shell counts."""

_came = threading.Event()


def heed_sigterm() -> None:
    """Raise KeyboardInterrupt in the main thread when SIGTERM comes.

    To be called again after a library has put its own handler there: Ray's prints native stacks. The
    system allows it in the main thread only; elsewhere nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def sigterm_came() -> bool:
    """Whether it did. A KeyboardInterrupt does not tell: Ray raises a new one in place of ours."""
    return _came.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.set()
    raise KeyboardInterrupt
