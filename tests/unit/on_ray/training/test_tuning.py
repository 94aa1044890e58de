"""What is told of a trial that was given up."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_ray.on_ray.training.tuning import last_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Failure # 1 (occurred at noon)\nTraceback (most recent call last):\n  File x\n"
            "RuntimeError: connection closed by peer\n\n",
            "RuntimeError: connection closed by peer",
        ),
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n"
            "3141 alice --password hunter2\n",
            "its machine ran out of memory; lower training.input_px or scaling.max_concurrent",
        ),
        ("", ""),
    ],
)
def test_the_last_line_of_its_error_is_told(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text(text)
    assert last_error(SimpleNamespace(error_file=str(file))) == expected


def test_a_trial_without_an_error_file_has_none(tmp_path: Path) -> None:
    assert last_error(SimpleNamespace(error_file=None)) == ""
    assert last_error(SimpleNamespace(error_file=str(tmp_path / "gone"))) == ""
