"""End alike on Ctrl-C and on SIGTERM, which SLURM, Docker and clouds send: one sentence, an exit code.

In: a signal. Out: `KeyboardInterrupt`, or `Terminated`, which is one.
"""

import signal
import threading
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def listen() -> None:
    """From now on SIGTERM raises `Terminated` and SIGINT `KeyboardInterrupt` in the main thread.

    To be called again after `ray.init`, which sets a handler of its own. Does nothing in other threads.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever asks twice does not wait for an orderly end
    raise Terminated
