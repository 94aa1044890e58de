"""Whoever waits is told what for, once per silence."""

import threading

from reid_ray.on_ray.cluster.watchdog import watchdog


def test_a_silence_is_told_and_progress_is_not() -> None:
    told, heard = [], threading.Event()

    def say(text: str) -> None:
        told.append(text)
        heard.set()

    with watchdog(say, lambda: "2 of 4 CPUs are free", quiet_s=0.05) as moved:
        assert heard.wait(30)
        heard.clear()
        moved()
        assert heard.wait(30)  # the next silence
    assert told[0] == "nothing has finished for 0 s: 2 of 4 CPUs are free"
    count = len(told)
    heard.clear()
    assert not heard.wait(0.3)  # nothing is told after the end
    assert len(told) == count
