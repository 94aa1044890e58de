"""Files that are made to run code when they are read: they are refused, and nothing is run."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from faulty import Record
from safetensors.torch import save_file
from test_kept_files import _read_checkpoint, _write_checkpoint

from reid_ray.config.matching import Aliked, Disk, XFeat
from reid_ray.embedding import backbones
from reid_ray.embedding.checkpoint import MANIFEST
from reid_ray.errors import ReidError
from reid_ray.matching import learned, lightglue, superpoint_weights
from reid_ray.matching.features import Features
from reid_ray.matching.weights import read_weights
from reid_ray.on_ray.actors import resumable as chunks
from reid_ray.runs import files, seals


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def _plain(payload: Payload) -> bytes:
    return pickle.dumps({"state_dict": payload})


def _of_torch(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": payload, "optimizer": payload, "schedule": payload}, buffer)
    return buffer.getvalue()


def _of_numpy(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, descriptors=np.array([payload], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _timm_folder(folder: Path, data: bytes) -> object:
    """What is handed on as a model of timm."""
    made = {"architecture": "test_resnet", "num_classes": 0, "pretrained_cfg": {"num_classes": 0}}
    (folder / "config.json").write_text(json.dumps(made))
    (folder / "pytorch_model.bin").write_bytes(data)
    return backbones.build("test_resnet", weights=str(folder), input_px=32)


def _checkpoint(folder: Path, data: bytes) -> object:
    """Someone who can write the state can write its manifest as well."""
    _write_checkpoint(folder)
    manifest = seals.unsealed(files.read_json(folder / MANIFEST), folder)
    manifest["sha256"]["training.pt"] = hashlib.sha256(data).hexdigest()
    (folder / manifest["files"]["training.pt"]).write_bytes(data)
    files.write_json(folder / MANIFEST, seals.sealed(manifest))
    return _read_checkpoint(folder)


def _weights(name: str) -> Callable[[Path, bytes], object]:
    def read(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read_weights(str(folder / name), of="a network")

    return read


NETWORKS: dict[str, Callable[[str], object]] = {
    "LightGlue": lambda path: lightglue.load(path, "superpoint"),
    "ALIKED": lambda path: learned.load(Aliked(kind="aliked", weights=path)),
    "DISK": lambda path: learned.load(Disk(kind="disk", weights=path)),
    "XFeat": lambda path: learned.load(XFeat(kind="xfeat", weights=path)),
    "SuperPoint": superpoint_weights.load_weights,
    "MiewID": lambda path: backbones.build("miewid", weights=path, input_px=64),
}


def _network(name: str, file: str) -> Callable[[Path, bytes], object]:
    def read(folder: Path, data: bytes) -> object:
        (folder / file).write_bytes(data)
        return NETWORKS[name](str(folder / file))

    return read


def _among_tensors(payload: Payload) -> bytes:
    """Beside what a real file has."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {"conv1a.weight": torch.ones(64, 1, 3, 3), "more": payload}}, buffer)
    return buffer.getvalue()


def _as_torch_1_5(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2), "p": payload}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _as_script(payload: Payload) -> bytes:
    """A program of TorchScript, in which any operation of torch may be called."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def _features(folder: Path, data: bytes) -> object:
    (folder / "a.npz").write_bytes(seals.seal_bytes(data))
    return Features.load(folder / "a.npz")


READERS: dict[str, tuple[Callable[[Path, bytes], object], tuple[Callable[[Payload], bytes], ...]]] = {
    "a folder of timm": (_timm_folder, (_plain, _of_torch)),
    "a training's checkpoint": (_checkpoint, (_plain, _of_torch)),
    "weights, .pth": (_weights("w.pth"), (_plain, _of_torch)),
    "weights, .safetensors": (_weights("w.safetensors"), (_plain, _of_torch)),
    "features": (_features, (_plain, _of_numpy)),
}
_PAYLOADS = (_plain, _of_torch, _among_tensors, _as_torch_1_5, _as_script)
READERS |= {
    f"{name}, {file}": (_network(name, file), _PAYLOADS)
    for name in NETWORKS
    for file in ("w.pth", "w.safetensors")
}


def _load_without_care(data: bytes) -> None:
    with contextlib.suppress(Exception):
        torch.load(io.BytesIO(data), weights_only=False)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        with contextlib.suppress(Exception):
            pickle.loads(data)


@pytest.mark.parametrize("what", READERS)
def test_no_file_from_outside_is_executed(what: str, tmp_path: Path, record: Record) -> None:
    read, makers = READERS[what]
    for number, make in enumerate(makers):
        folder, mark = tmp_path / str(number), tmp_path / f"owned-{number}"
        folder.mkdir()
        data = make(Payload(mark))
        with pytest.raises(ReidError):
            read(folder, data)
        assert not mark.exists()
        if make in (_plain, _as_torch_1_5, _of_torch):
            _load_without_care(data)  # it would have
            assert mark.exists()
    record(
        "files that run code when they are read",
        "pickles by hand, of torch and of numpy, in the files of each network",
        tried=len(makers),
        survived=len(makers),
    )


def test_a_chunk_with_objects_counts_as_damaged(tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    files.write_bytes(tmp_path / "a.npz", seals.seal_bytes(_of_numpy(Payload(mark))))
    assert chunks._read(tmp_path / "a.npz") is None
    assert not mark.exists()


def test_a_good_folder_of_timm_is_still_read(tmp_path: Path) -> None:
    """Weights alone, as torch writes them, are no code."""
    model = timm.create_model("test_resnet", num_classes=0)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    built = _timm_folder(tmp_path, buffer.getvalue())
    assert isinstance(built, backbones.Backbone)
    ours, theirs = built.module.state_dict(), model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert zipfile.is_zipfile(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize(
    "says",
    [
        {"url": "http://127.0.0.1:9/w.pth"},
        {"url": "http://127.0.0.1:9/w.pth", "source": "url"},
        {"hf_hub_id": "some/one", "source": "hf-hub"},
        {"file": "elsewhere.pth", "source": "file"},
        {"hf_hub_id": "some/one", "custom_load": "hf"},
    ],
    ids=lambda says: "+".join(says),
)
def test_a_folder_of_timm_cannot_name_other_weights_than_its_own(
    says: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is fetched by an address would be unpickled."""

    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("weights were looked for elsewhere")

    for name in ("load_state_dict_from_url", "load_state_dict_from_hf", "load_custom_from_hf"):
        monkeypatch.setattr(f"timm.models._builder.{name}", fetched)
    model = timm.create_model("test_resnet", num_classes=0)
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "test_resnet", "num_classes": 0, "pretrained_cfg": says})
    )
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    built = backbones.build("test_resnet", weights=str(tmp_path), input_px=32)
    ours, theirs = built.module.state_dict(), model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_weights_that_are_known_by_an_address_alone_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    config = timm.models.PretrainedCfg(url="http://127.0.0.1:9/w.pth")
    monkeypatch.setattr(backbones, "get_pretrained_cfg", lambda *_, **__: config)
    assert backbones.hub_of("some_net") is None
    assert backbones.hub_of("some_net:other") is None
