"""What methods cost, by hand."""

from dataclasses import replace

import pytest

from reid_ray.reporting.page import write_report
from reid_ray.reporting.sections.cost import SECTION, cost
from reid_ray.reporting.sections.section import Subject


def test_hours_are_what_was_held_times_the_time(record, tmp_path) -> None:
    held = {"matching": {"cpus": 4.0, "gpus": 0.0}, "confirmation": {"cpus": 2.0, "gpus": 1.0}}
    study = record.study | {"reserved": held}
    table = cost(Subject(replace(record, study=study))).set_index("family")
    # SIFT took 21.7 s on four CPUs, the confirmation 88 s on two and a GPU.
    assert table.loc["local features", "cpu_hours"] == pytest.approx(4 * 21.7 / 3600)
    assert table.loc["local features", "gpu_hours"] == 0
    assert table.loc["confirmation", "gpu_hours"] == pytest.approx(88 / 3600)
    assert table.loc["ArcFace"].isna().sum() == 2  # not known, and not taken as 0
    page = write_report(replace(record, study=study), tmp_path, [SECTION]).read_text(encoding="utf-8")
    assert '<td class="num">nan' not in page
    assert "GPU hours" in page
    held["confirmation"]["gpus"] = 0.0
    page = write_report(replace(record, study=study), tmp_path, [SECTION]).read_text(encoding="utf-8")
    assert "CPU hours" in page
    assert "GPU hours" not in page  # nobody wants a column of zeros
