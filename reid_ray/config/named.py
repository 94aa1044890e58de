"""Find files: a command's config by path or name, and the folder that results go to."""

import itertools
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

from reid_ray.errors import ConfigError

_HERE = Path(__file__).parent.parent
_FOLDERS = (_HERE.parent / "tune_configs", _HERE / "_configs")
"""In a checkout, and in an installed package."""

MIRROR = "reid_ray-mirror"
"""Folder whose paths stand for objects behind a URI: `<it>/s3/bucket/runs` for `s3://bucket/runs`."""

CACHE = "REID_RAY_CACHE"
"""Names the folder of the mirror in the environment, `~/.cache` where it is not set."""


def find(command: str, name: str) -> Path:
    """The file `name`, or `tune_configs/<command>/<name>.yaml`.

    Raises:
        ConfigError: neither is there; lists the names that are.
    """
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        if given.is_file():
            return given
        raise ConfigError(f"{given}: no such file in {Path.cwd()}; names that come along: {_names(command)}")
    for folder in _FOLDERS:
        path = folder / command / f"{name}.yaml"
        if path.is_file():
            return path
    raise ConfigError(
        f"no config named {name!r} for {command}; there are {_names(command)}, or give a .yaml file"
    )


def described(command: str) -> dict[str, str]:
    """The configs that come along for a command, each with the first sentence of its comment."""
    found = {}
    for name in _names(command):
        lines = find(command, name).read_text(encoding="utf-8").splitlines()
        comment = " ".join(
            line[2:] for line in itertools.takewhile(lambda line: line.startswith("# "), lines)
        )
        found[name] = re.split(r"(?<=[.?])\s|;\s", comment, maxsplit=1)[0].rstrip(".")
    return found


def _names(command: str) -> list[str]:
    return sorted({path.stem for folder in _FOLDERS for path in (folder / command).glob("*.yaml")})


def results_folder(name: str) -> Path:
    """`name` as an absolute path; relative ones are taken from the current folder.

    A URI of object storage becomes a path of its mirror, see `reid_ray.runs.storage`. A job that was
    submitted with `--working-dir` runs in a copy of that folder which Ray deletes later, so there
    relative paths are taken from `~/reid_ray`.

    Raises:
        ConfigError: a URI that cannot be a folder of results.
    """
    if "://" in name:
        return _behind(name)
    inside_job_copy = "working_dir_files" in Path.cwd().parts
    return (Path.home() / "reid_ray" if inside_job_copy else Path.cwd()) / Path(name).expanduser()


def _behind(uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return Path(unquote(urlparse(uri).path))
    names = rest.rstrip("/").split("/")
    if "?" in rest:
        raise ConfigError(
            f"{uri}: options after ? are not taken; set them in the environment of every node, "
            "as AWS_ENDPOINT_URL and AWS_DEFAULT_REGION"
        )
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not all(names) or {".", ".."} & set(names):
        raise ConfigError(f"{uri}: not a place for results; give a folder or s3://bucket/folder")
    cache = Path(os.environ.get(CACHE) or Path.home() / ".cache")
    return cache.expanduser().absolute() / MIRROR / scheme / "/".join(names)
