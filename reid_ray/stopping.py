"""End on SIGTERM, from a scheduler or `docker stop`, exactly as on Ctrl-C."""

import signal
import threading
from types import FrameType

SIGTERM_EXIT_CODE = 143
"""128 + the signal's number, as a shell counts."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came. Whatever tidies up after Ctrl-C tidies up after it."""


def heed_sigterm() -> None:
    """Raise `TerminatedError` in the main thread when SIGTERM comes.

    To be called again after a library has put its own handler there: Ray's prints native stacks. The
    system allows it in the main thread only; elsewhere nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TerminatedError
