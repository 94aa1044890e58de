"""The published files that are known: what they are called, whose they are, and which one a file is."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from reid_ray.config.base import Config, read_yaml
from reid_ray.errors import WeightsError
from reid_ray.weight_files.reading import fingerprint

_LIST = Path(__file__).with_name("known.yaml")


class Known(Config):
    """One published file; what is empty is not known.

    `file` is its name as published, `also` other names it goes by; `package` is one of the Python index that
    carries it, at `inside`; `address` is where its authors have it; `backbone` is the timm model it is of.
    """

    file: str
    also: tuple[str, ...] = ()
    licence: str
    bytes: int = 0
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    fingerprint: str = ""
    package: str = ""
    inside: str = ""
    address: str = ""
    backbone: str = ""


@cache
def known() -> dict[str, Known]:
    """All known files by name."""
    raw: dict[str, Any] = read_yaml(_LIST)
    return {name: Known.parse(entry, where=f"{_LIST} {name}") for name, entry in raw.items()}


def in_folder(path: Path, name: str) -> Path:
    """The file itself, or of a folder the one that goes by a name of `name` (or by it and `.safetensors`)."""
    if not path.is_dir():
        return path
    entry = known().get(name)
    names = (entry.file, *entry.also) if entry else ()
    names = (*(Path(one).with_suffix(".safetensors").name for one in names), *names)
    return next(
        (path / one for one in names if (path / one).is_file()), path / (entry.file if entry else name)
    )


def how_to_get(name: str) -> str:
    """What to type to have the file, or where it is; to be put at the end of a sentence."""
    entry = known().get(name)
    if entry is None:
        return ""
    if entry.sha256:
        return f"; get it by `python -m reid_ray.weights get {name}`"
    return f"; its authors have it at {entry.address} ({entry.licence})"


def refuse_other(file: Path, tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse a file whose values are those of another known one: networks of the same shape take them without
    a word, and then give nonsense.

    Raises:
        WeightsError: says which one it is.
    """
    if not name:
        return
    found = fingerprint(tensors)
    other = next((other for other, entry in known().items() if entry.fingerprint == found), name)
    if other != name:
        raise WeightsError(f"{file}: these are the weights of {other}, expected {name}{how_to_get(name)}")
