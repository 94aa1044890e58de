"""What a long stretch of work tells where there is no terminal: how much, how fast, how long yet."""

import io

import pytest
from rich.console import Console

from reid_ray import progress
from reid_ray.progress import Phase


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def told_at(clock: list[float], steps: list[tuple[float, int]], total: int) -> list[str]:
    """Lines printed when so many are done at such times."""
    out = io.StringIO()
    phase = Phase("SIFT", total, "pairs matched", Console(file=out, width=200), started=0, told=0)
    for clock[0], done in steps:
        phase.at(done)
    return out.getvalue().splitlines()


def test_speed_and_time_left_are_told_without_what_an_earlier_start_had_done(clock: list[float]) -> None:
    # 50 000 were there already; then 100 a second.
    steps = [(1.0, 50_000), (11.0, 51_000), (21.0, 52_000)]
    lines = told_at(clock, steps, 64_000)
    assert lines[0] == "  SIFT: 51000/64000 pairs matched, 100/s, about 2:10 left"
    assert lines[1] == "  SIFT: 52000/64000 pairs matched, 100/s, about 2:00 left"


def test_the_speed_is_that_of_the_last_minute(clock: list[float]) -> None:
    steps = [(10.0 * i, i) for i in range(1, 20)] + [(190.0 + i, 19 + 5 * i) for i in range(1, 121)]
    assert told_at(clock, steps, 1000)[-1].startswith("  SIFT: 519/1000 pairs matched, 5.0/s, about")


def test_nothing_is_foretold_before_two_steps_and_a_standstill_slows_down(clock: list[float]) -> None:
    lines = told_at(clock, [(5.0, 0), (20.0, 0), (31.0, 10), (41.0, 20), (131.0, 20)], 100)
    assert lines[0] == "  SIFT: 0/100 pairs matched"
    assert lines[1] == "  SIFT: 10/100 pairs matched"
    assert lines[2] == "  SIFT: 20/100 pairs matched, 1.0/s, about 1:20 left"
    assert lines[3] == "  SIFT: 20/100 pairs matched, 6.0/min, about 13:20 left"


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, ""), (1234.5, "1,234/s"), (2.0, "2.0/s"), (0.5, "30.0/min"), (1e-3, "3.6/h"), (1e-4, "0.4/h")],
)
def test_slow_work_is_told_per_minute_or_hour(rate: float, text: str) -> None:
    assert progress._speed(rate) == text


@pytest.mark.parametrize("width", [80, 110, 200])
def test_count_and_time_left_are_whole_at_every_width(clock: list[float], width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    name = "sweep/arcface/vit-small-patch14-dinov2-with-a-long-name/seed-3"
    with progress.Display(console).phase(name, 12_000, "epochs") as phase:
        for clock[0], done in ((1.0, 1000), (11.0, 2000), (21.0, 3000)):
            phase.at(done, "trial 17 of 64: epoch 3 of 20, val/top1 0.71, loss 0.1234")
        assert phase.bar is not None
        phase.bar.refresh()
        shown = out.getvalue().splitlines()[-1]
    assert "3000/12000 epochs 100/s 1:30 left" in shown
    assert len(shown.split("\r")[-1]) < width + 20  # control codes; one line


def test_a_step_says_how_far_it_is_and_how_long_it_takes_yet(clock: list[float]) -> None:
    """200 in 20 s, so the other 700 take 70 s; what was done before the step began does not count."""
    clock[0] = 100.0
    step = progress.Step()
    assert step.text("asked", 100, 1000) == "asked 100 of 1000"
    clock[0] = 120.0
    assert step.text("asked", 300, 1000) == "asked 300 of 1000, about 1:10 left"
    clock[0] = 190.0
    assert step.text("asked", 1000, 1000) == "asked 1000 of 1000"
    assert step.text("tried", 0, 50) == "tried 0 of 50"
    assert step.text("weights are looked for", 0, 0) == "weights are looked for"
