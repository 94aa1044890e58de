"""What is known of the published collections, and which collections of a config are here."""

from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reid_ray.config.base import Config, read_yaml
from reid_ray.config.datasets import Dataset, Name, SyntheticDataset
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

_LIST = Path(__file__).with_name("collections.yaml")
SOURCE = "wildlife-tools' published baselines (arXiv 2311.09118)"


class Collection(Config):
    """One published collection; `published` is MegaDescriptor's top-1 in per cent by model."""

    animals: str
    group: Name
    preparation: Literal["full", "bbox", "crop_black"]
    licence: str
    published: dict[str, float]


@cache
def collections() -> dict[str, Collection]:
    """All known ones by name."""
    raw: dict[str, Any] = read_yaml(_LIST)
    return {name: Collection.parse(entry, where=f"{_LIST} {name}") for name, entry in raw.items()}


class Present(NamedTuple):
    """A study of the collections that are here, and a sentence on each that is not."""

    study: Study
    left_out: list[str]


def present(study: Study) -> Present:
    """The study without collections whose folder is not there, where the config allows that.

    Raises:
        ConfigError: none is there.
    """
    if study.data.missing == "refuse":
        return Present(study, [])
    gone = [dataset for dataset in study.data.datasets if not _is_here(dataset)]
    if not gone:
        return Present(study, [])
    names = {dataset.name for dataset in gone}
    kept = [dataset for dataset in study.data.datasets if dataset.name not in names]
    if not kept:
        roots = sorted({str(Path(_root(dataset)).parent) for dataset in gone})
        raise ConfigError(
            f"none of the {len(gone)} collections is here ({', '.join(roots)} has no folder of theirs); "
            "put at least one there, or set data.datasets"
        )
    raw = study.model_dump(mode="json")
    raw["data"]["datasets"] = [dataset.model_dump(mode="json") for dataset in kept]
    groups = {dataset.domain_group for dataset in kept}
    raw["data"]["unseen"] = [group for group in study.data.unseen if group in groups]
    left_out = [f"{dataset.name} is not run: no folder {_root(dataset)}" for dataset in gone]
    if raw["transfer"] is not None:
        raw["transfer"], told = _transfer(raw["transfer"], kept)
        left_out += told
    return Present(Study.parse(raw, where=f"study {study.name} without {', '.join(sorted(names))}"), left_out)


def _transfer(raw: dict[str, Any], kept: list[Dataset]) -> tuple[dict[str, Any] | None, list[str]]:
    """The trainings with species withheld that can still be made of what is here."""
    here = {dataset.name: dataset.domain_group for dataset in kept}
    evaluate = [name for name in raw["evaluate"] if name in here]
    groups = {here[name] for name in evaluate}
    others = {group for name, group in here.items() if name not in evaluate}
    possible = {"all": True, "same_domain": bool(others & groups), "other_domains": bool(others - groups)}
    variants = [variant for variant in raw["variants"] if possible[variant]]
    told = [
        f"transfer {variant} is not run: the collections that are here leave it nothing of its own"
        for variant in raw["variants"]
        if variant not in variants
    ]
    if not evaluate or not variants:
        return None, told
    return raw | {"evaluate": evaluate, "variants": variants}, told


def _root(dataset: Dataset) -> str:
    return "" if isinstance(dataset, SyntheticDataset) else dataset.root


def _is_here(dataset: Dataset) -> bool:
    """A synthetic collection is made, and object storage is asked when it is read."""
    root = _root(dataset)
    return not root or "://" in root or Path(root).expanduser().is_dir()


def advice(name: str, *, cropped: bool, boxed: bool) -> list[str]:
    """What a published collection's preparation asks for that these settings do not do.

    Args:
        cropped: photos are cut to their boxes.
        boxed: there are boxes.
    """
    known = collections().get(name)
    if known is None or known.preparation == "full":
        return []
    if cropped and boxed:
        return []
    what = {"bbox": "cut to its box", "crop_black": "cut to what is not black"}[known.preparation]
    return [
        f"{name}: the published figures are of each photo {what}; give the table a column `bbox` and set "
        "images.crop to bbox (examples/from_wildlife_datasets.py writes such a table)"
    ]
