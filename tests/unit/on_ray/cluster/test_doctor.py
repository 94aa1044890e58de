"""The doctor tells what a study could not do, and what to do about it."""

from pathlib import Path

import pytest

from reid_ray.on_ray.cluster import doctor


def test_a_library_that_does_not_import_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "import_module", broken)
    monkeypatch.setitem(doctor._MODULES, "no-such-distribution", "nothing")
    faults = {check.what: check.text for check in doctor._libraries() if check.status == "fault"}
    assert set(faults) == {"torchvision", "no-such-distribution"}
    assert "torchvision::nms does not exist" in faults["torchvision"]
    assert "not installed" in faults["no-such-distribution"]


def test_storage_is_tried_by_writing(tmp_path: Path) -> None:
    assert doctor._storage(tmp_path / "runs").status in ("ok", "note")
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").write_text("x")
    check = doctor._guarded("storage", lambda: doctor._storage(tmp_path / "file" / "runs"))
    assert check.status == "fault"
    assert "file/runs" in check.text
    assert "Not a directory" in check.text


def test_a_store_is_counted_without_being_made(tmp_path: Path) -> None:
    check = doctor._mlflow(None, tmp_path)
    assert (check.status, list(tmp_path.iterdir())) == ("ok", [])
    assert doctor._mlflow("http://127.0.0.1:9", tmp_path).status == "fault"
