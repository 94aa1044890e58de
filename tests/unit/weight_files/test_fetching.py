"""Known files are fetched whole or not at all, from wherever they are, and nothing in a file is executed."""

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reid_ray.errors import WeightsError
from reid_ray.weight_files import fetch, known
from reid_ray.weight_files.known import Known, in_folder
from reid_ray.weight_files.reading import fingerprint, read_tensors

CONTENT = bytes(range(256)) * 1000


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, from where it is asked to; the first answer breaks off in the middle."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.send_response(206 if wanted else 200)
        self.end_headers()
        broken = len(self.asked) == 1
        self.wfile.write(CONTENT[start : 100_000 if broken else None])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Ranges.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def entry(**changes: Any) -> Known:
    fields = {
        "file": "net.pth",
        "licence": "MIT",
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    return Known(**(fields | changes))


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Known]:
    """The list of known files, to be filled by a test."""
    listed: dict[str, Known] = {}
    monkeypatch.setattr(fetch, "known", lambda: listed)
    return listed


def test_what_was_cut_short_is_gone_on_with_and_then_not_fetched_again(
    address: str, mine: dict[str, Known], tmp_path: Path
) -> None:
    mine["net"] = entry(address=address)
    with pytest.raises(WeightsError, match=r"cut short, 100000 of 256000 bytes"):
        fetch.get("net", tmp_path)
    assert fetch.get("net", tmp_path).read_bytes() == CONTENT
    fetch.get("net", tmp_path)
    assert Ranges.asked == ["", "bytes=100000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_a_file_that_is_not_the_known_one_is_refused_and_nothing_is_left(
    mine: dict[str, Known], tmp_path: Path
) -> None:
    mine["net"] = entry(sha256="0" * 64)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "net.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="has another file"):
        fetch.get("net", tmp_path / "to", mirror=str(mirror))
    assert list((tmp_path / "to").iterdir()) == []


def test_a_folder_serves_as_mirror_without_a_network(mine: dict[str, Known], tmp_path: Path) -> None:
    mine["net"] = entry(also=("other-name.pth",), address="http://127.0.0.1:9/nothing")
    (tmp_path / "other-name.pth").write_bytes(CONTENT)
    found = fetch.get("net", tmp_path / "to", mirror=str(tmp_path))
    assert found == tmp_path / "to" / "net.pth"
    assert found.read_bytes() == CONTENT


def test_where_nothing_can_be_had_every_source_is_named(mine: dict[str, Known], tmp_path: Path) -> None:
    mine["net"] = entry(address="http://127.0.0.1:9/nothing")
    with pytest.raises(
        WeightsError, match=r"net cannot be had: http://127\.0\.0\.1:9/nothing: cannot be read"
    ):
        fetch.get("net", tmp_path)


def test_what_is_not_pinned_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"superpoint is not fetched.*superpoint_v6_from_tf\.pth"):
        fetch.get("superpoint", tmp_path)
    with pytest.raises(WeightsError, match=r"no file of weights is known as 'superb'.*aliked-n16"):
        fetch.get("superb", tmp_path)


def test_every_known_file_says_its_licence_and_where_it_is() -> None:
    for name, one in known.known().items():
        assert one.licence, name
        assert one.package or one.address, name
        assert bool(one.sha256) == bool(one.bytes) == bool(one.fingerprint), name


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    if zipped:
        torch.save({"weight": torch.zeros(3), "trap": Malicious()}, path)
    else:
        path.write_bytes(pickle.dumps({"trap": Malicious()}))
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        read_tensors(path, of="weights")
    assert not (tmp_path / "executed").exists()


def test_tensors_are_found_where_published_files_keep_them(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    wrapped = {"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "net.pth")
    found = read_tensors(tmp_path / "net.pth", of="weights")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_file_is_known_by_its_values_however_it_was_saved(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2), "counter": torch.tensor(7)}
    renamed = {"x": weights["b"].double(), "y": weights["a"].clone()}
    save_file(renamed, tmp_path / "net.safetensors")
    assert fingerprint(read_tensors(tmp_path / "net.safetensors", of="weights")) == fingerprint(weights)
    assert fingerprint({"a": torch.arange(3.0), "b": torch.zeros(2, 2)}) != fingerprint(weights)


def test_a_folder_is_looked_through_by_the_names_that_a_file_goes_by(tmp_path: Path) -> None:
    assert in_folder(tmp_path, "disk") == tmp_path / "disk-depth-save.pth"
    (tmp_path / "depth-save.pth").touch()
    assert in_folder(tmp_path, "disk") == tmp_path / "depth-save.pth"
    (tmp_path / "disk.safetensors").touch()
    assert in_folder(tmp_path, "disk") == tmp_path / "disk.safetensors"
    assert in_folder(tmp_path / "depth-save.pth", "disk") == tmp_path / "depth-save.pth"
