"""Make a timm backbone that turns photos into feature vectors.

In: a timm name and where weights come from. Out: a module [n, 3, H, W] -> [n, d], and a sentence
that says which weights it has.
"""

import json
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
import torch
from safetensors import SafetensorError
from timm.models import get_pretrained_cfg

from reid_ray.config.named import results_folder
from reid_ray.embedding import miewid
from reid_ray.embedding.efficientnet_names import with_timms_names
from reid_ray.embedding.strict import fill, finite, made_with
from reid_ray.errors import ConfigError, WeightsError
from reid_ray.runs import files
from reid_ray.weight_files.reading import read_tensors

HUB_TIMEOUT_S = 3.0
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Backbone:
    """A feature extractor and how its input is to be normalised.

    Attributes:
        module: float32 [n, 3, H, W] -> [n, d].
        mean, std: per RGB channel, for pixels in 0..1.
        weights: a sentence naming the weights, for the run's record.
        interpolation: how its photos were scaled, `bilinear` or `bicubic`.
    """

    module: torch.nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str
    interpolation: str = "bilinear"

    @property
    def dims(self) -> int:
        return int(self.module.num_features)  # type: ignore[arg-type]


def resolve_weights(name: str, weights: str) -> tuple[str, str]:
    """Decide `auto` once, before work is spread, so that all trials start from the same weights.

    Returns:
        (weights, why): `weights` is `hub`, `random`, a path or an `hf-hub:` id.
    """
    if weights != "auto":
        return weights, f"{weights} weights, as asked"
    hub_id = hub_of(name)
    if hub_id is None:
        return "random", f"{name} has no published weights, so it starts from random ones"
    if is_cached(hub_id) or hub_answers():
        return "hub", f"pretrained weights {hub_id}"
    return "random", (
        f"{name} starts from RANDOM weights: {hub_id} is neither in the local cache nor can the "
        "model hub be reached; set training.weights to a local file for the paper's protocol"
    )


def build(name: str, *, weights: str, input_px: int) -> Backbone:
    """Make the backbone without a classifier.

    Args:
        name: a timm model name, optionally with a tag (`name.tag`).
        weights: `hub` (timm's own), `random`, a file of weights or a timm folder (of this machine, or
            s3://...), or an `hf-hub:` id. All of it is loaded, or it is refused.
        input_px: side of the square input; fixed-size models are made for it.

    Raises:
        ConfigError: no such timm model.
        WeightsError: weights are missing, damaged or of another architecture.
    """
    options = input_options(name, input_px)
    if weights == "random":
        return _describe(_create(name, pretrained=False, **options), "random weights")
    if weights == "hub" or weights.startswith("hf-hub:"):
        source = str(hub_of(name)) if weights == "hub" else weights
        asked = name if weights == "hub" else weights
        make = partial(_create, asked, pretrained=True, **options)
        return _describe(made_with(make, source=source, name=name or asked), f"pretrained {source}")
    path = local(weights)
    what = "folder" if path.is_dir() else "file"
    return _describe(_from_disk(name, path, options), f"local {what} {path.name}")


def _from_disk(name: str, path: Path, options: dict[str, int]) -> torch.nn.Module:
    """A network with the weights of a file, or of a folder.

    A folder's own architecture is taken, unless another one is asked for: weights that OpenAI trained with
    its quick GELU are published under the name of the same network with the usual one.
    """
    file = weights_file(path) if path.is_dir() else path
    tensors = read_tensors(file, of=f"the weights of {name or 'a timm model'} (safetensors, or torch's own)")
    finite(tensors, source=str(file))
    if name == miewid.NAME:
        network = miewid.MiewId()
        fill(network, miewid.renamed(tensors), source=str(file), name=name, extra=miewid.HEAD)
        return network
    architecture = str(folder_config(path).get("architecture", "")) if path.is_dir() else ""
    if architecture and (":" in name or name.split(".")[0] in ("", architecture)):
        name, asked = architecture, f"local-dir:{path}"
    else:
        asked = name
    tensors = with_timms_names(tensors, name)
    overlay = {"state_dict": tensors, "source": "", "custom_load": False}
    make = partial(_create, asked, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    module = made_with(make, source=str(file), name=name)
    module.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return module


def check_fit(name: str, path: Path) -> None:
    """Read local weights as `build` would, to see whether they are those of the architecture.

    Raises:
        WeightsError: they are not; ConfigError: no such timm model.
    """
    file = weights_file(path) if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"{path}: no such file or folder of weights")
    stat = file.stat()
    _check_fit(name, path, stat.st_size, stat.st_mtime_ns)


@cache
def _check_fit(name: str, path: Path, _size: int, _changed: int) -> None:
    _from_disk(name, path, input_options(name, native_px(name)))


def local(weights: str) -> Path:
    """A file or folder of weights on this machine; from object storage it is fetched once."""
    if "://" in weights:
        return files.kept(results_folder(weights))
    return files.kept(Path(weights).expanduser().absolute())


def weights_file(folder: Path) -> Path:
    """The file of weights in a timm folder.

    Raises:
        WeightsError: there is none.
    """
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: no {' or '.join(WEIGHTS_FILES)} in this folder")


def folder_config(folder: Path) -> dict[str, Any]:
    """A timm folder's config.json: `architecture`, `pretrained_cfg`, ...; empty where there is none.

    Raises:
        WeightsError: it cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict):
            return config
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None
    raise WeightsError(f"{path}: not the config of a timm model")


def native_px(name: str) -> int:
    """Side of the input of the model's published weights; 224 where that is not known."""
    if name == miewid.NAME:
        return miewid.INPUT_PX
    config = get_pretrained_cfg(name, allow_unregistered=True) if ":" not in name else None
    return int(config.input_size[-1]) if config is not None else 224


def _create(name: str, **options: object) -> torch.nn.Module:
    try:
        module: torch.nn.Module = timm.create_model(name, num_classes=0, **options)
        return module
    except RuntimeError as error:
        if "Unknown model" in str(error):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
            raise ConfigError(f"backbone {name!r} is not a timm model; near it: {near}") from None
        raise
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{name}: weights cannot be had ({error}); give a local file") from error


def input_options(name: str, input_px: int) -> dict[str, int]:
    """`img_size` for models whose position tables depend on it; others take any size."""
    config = get_pretrained_cfg(name, allow_unregistered=True) if ":" not in name else None
    return {"img_size": input_px} if config is not None and config.fixed_input_size else {}


def _describe(module: torch.nn.Module, weights: str) -> Backbone:
    config: dict[str, Any] = dict(module.pretrained_cfg)  # type: ignore[arg-type]
    interpolation = config.get("interpolation")
    return Backbone(
        module,
        tuple(config["mean"]),
        tuple(config["std"]),
        weights,
        interpolation if interpolation in ("bilinear", "bicubic") else "bilinear",
    )


def hub_of(name: str) -> str | None:
    config = get_pretrained_cfg(name, allow_unregistered=True) if ":" not in name else None
    # Weights known only by a URL would be unpickled by torch.hub, which runs what the file says.
    return config.hf_hub_id if config is not None else None


def is_cached(hub_id: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in WEIGHTS_FILES)


def hub_answers() -> bool:
    """Whether the model hub answers at all, directly or through the proxy that the environment
    names; its own client would retry for a minute.
    """
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_S).close()
    except HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
