"""Find out where a model's weights are, and that they are its own, before any work is spread.

In: its config. Out: `Found`.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import timm

from reid_ray.config.models import Pretrained
from reid_ray.embedding import backbones, miewid
from reid_ray.errors import ConfigError, WeightsError


@dataclass(frozen=True)
class Found:
    """Where the weights of a model are.

    Attributes:
        status: `local`: a file or folder of the user's; `cached`: downloaded before; `reachable`: to be
            downloaded; `random`: none are wanted; `missing`.
        architecture, weights, input_px: as `backbones.build` takes them.
        sentence: where they are, or how to get them.
        version: changes with the files of local weights.
    """

    status: Literal["local", "cached", "reachable", "random", "missing"]
    architecture: str
    weights: str
    input_px: int
    sentence: str
    version: str = ""

    @property
    def missing(self) -> bool:
        return self.status == "missing"


def find(model: Pretrained) -> Found:
    """Look on disk, in the local cache, then whether the hub answers; nothing is downloaded.

    Raises:
        ConfigError: the model is not one that timm knows.
    """
    if "/" in model.model and ":" not in model.model:  # a timm folder in place of a name
        model = model.model_copy(update={"model": "", "weights": model.model})
    if model.model and model.model != miewid.NAME and ":" not in model.model:
        _check_name(model.model)
    if model.weights == "random":
        _check_name(model.model)
        return Found("random", model.model, "random", _px(model), "random weights, as asked")
    if model.weights in ("auto", "cached"):
        return _on_hub(model)
    if model.weights.startswith("hf-hub:"):
        hub = model.weights.removeprefix("hf-hub:")
        return _on_hub(model.model_copy(update={"hub": hub, "weights": "auto"}))
    return _on_disk(model, backbones.local(model.weights))


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise ConfigError(f"model {name!r} is not a timm model; near it: {near}")


def _on_disk(model: Pretrained, path: Path) -> Found:
    """A timm folder, or a file of weights whose architecture is given."""
    try:
        config = backbones.folder_config(path) if path.is_dir() else {}
        file = backbones.weights_file(path) if path.is_dir() else path
        stat = file.stat()
    except (WeightsError, OSError) as error:
        return Found("missing", model.model, str(path), _px(model), _one_line(error))
    architecture = model.model or str(config.get("architecture", ""))
    if not architecture:
        sentence = f"{path} says no architecture; give model: (a timm name) beside weights:"
        return Found("missing", "", str(path), _px(model), sentence)
    own = (config.get("pretrained_cfg") or {}).get("input_size")
    px = model.input_px or (int(own[-1]) if own else _px(model))
    version = f"{stat.st_size} {stat.st_mtime_ns}"
    try:
        backbones.check_fit(architecture, path)
    except WeightsError as error:
        return Found("missing", architecture, str(path), px, str(error), version)
    return Found("local", architecture, str(path), px, f"in {path}", version)


def _on_hub(model: Pretrained) -> Found:
    name = model.model.removeprefix("hf-hub:")
    hub = model.hub or (name if name != model.model else backbones.hub_of(model.model) or "")
    px = _px(model)
    if not hub:
        sentence = model.remark or f"{model.model} has no published weights; give weights: DIR"
        return Found("missing", model.model, model.weights, px, sentence)
    if folder := cached_folder(hub):
        own = model.model_copy(update={"model": "" if ":" in model.model else model.model})
        found = _on_disk(own, folder)
        return replace(found, status="cached", sentence=f"{hub} in the local cache")
    timms = not model.hub and name == model.model
    source = "hub" if timms else f"hf-hub:{hub}"
    if timms and backbones.is_cached(hub):
        return Found("cached", model.model, source, px, f"{hub} in the local cache")
    if model.weights == "auto" and _hub_answers():
        return Found("reachable", model.model, source, px, f"{hub}, to be downloaded")
    why = "" if model.weights == "cached" else ", and the model hub does not answer"
    sentence = (
        f"not in the local cache{why}; where there is a connection `hf download {hub} --local-dir DIR`, "
        "then weights: DIR (or bring its cache, and set HF_HOME)"
    )
    return Found("missing", model.model, source, px, sentence)


def cached_folder(hub: str) -> Path | None:
    """The folder of a repository in the local cache, if it has config and weights; it is used as it is,
    without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(hub, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if any((folder / name).is_file() for name in backbones.WEIGHTS_FILES) else None


@cache
def _hub_answers() -> bool:
    """Asked once per process: each time takes seconds where packets are dropped."""
    return backbones.hub_answers()


def _px(model: Pretrained) -> int:
    if model.input_px or not model.model or ":" in model.model:
        return model.input_px or 224
    return backbones.native_px(model.model)


def _one_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename}: no such file or folder"
    return str(error)
