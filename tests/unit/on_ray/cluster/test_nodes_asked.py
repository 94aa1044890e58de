"""What a node says of the storage."""

from pathlib import Path

import psutil
import pytest

from reid_ray.on_ray.cluster import network, nodes


def test_a_node_reads_the_question_and_writes_an_answer(tmp_path: Path) -> None:
    (tmp_path / "asked").write_text("x")
    fault, written, libraries = nodes._look_from_there(str(tmp_path / "asked"))
    assert fault == ""
    assert Path(written).parent == tmp_path
    assert Path(written).read_text() == "answered"
    assert "ray" in libraries


def test_a_node_without_the_folder_says_so_and_makes_none(tmp_path: Path) -> None:
    fault, _, _ = nodes._look_from_there(str(tmp_path / "gone" / "asked"))
    assert fault.startswith(f"cannot see {tmp_path}/gone/asked")
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asked").write_text("x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nodes.files, "_write", full)
    fault, _, _ = nodes._look_from_there(str(tmp_path / "asked"))
    assert "cannot be written" in fault
    assert "No space left" in fault


def test_the_interface_of_an_address_is_the_one_that_has_it() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if one.address == "127.0.0.1":
                assert network.interface_of("127.0.0.1") == name
    assert network.interface_of("203.0.113.7") is None
