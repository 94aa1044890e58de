"""Make a timm backbone that turns photos into feature vectors.

In: a timm name and where weights come from. Out: a module [n, 3, H, W] -> [n, d], and a sentence
that says which weights it has.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg

from reid_ray.config.named import results_folder
from reid_ray.embedding import miewid
from reid_ray.errors import ConfigError, WeightsError
from reid_ray.runs import files

HUB_TIMEOUT_S = 3.0
_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


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
        return "hub", f"pre-trained weights {hub_id}"
    return "random", (
        f"{name} starts from RANDOM weights: {hub_id} is neither in the local cache nor can the "
        "model hub be reached; set training.weights to a local file for the paper's protocol"
    )


def build(name: str, *, weights: str, input_px: int) -> Backbone:
    """Make the backbone without a classifier.

    Args:
        name: a timm model name, optionally with a tag (`name.tag`).
        weights: `hub` (timm's own), `random`, a safetensors file or a timm folder (of this machine,
            or s3://...), or an `hf-hub:` id.
        input_px: side of the square input; fixed-size models are made for it.

    Raises:
        ConfigError: no such timm model.
        WeightsError: weights are missing, damaged or of another architecture.
    """
    options = input_options(name, input_px)
    if weights == "hub":
        return _describe(_create(name, pretrained=True, **options), f"pre-trained {hub_of(name)}")
    if weights == "random":
        return _describe(_create(name, pretrained=False, **options), "random weights")
    if weights.startswith("hf-hub:"):
        return _describe(_create(weights, pretrained=True, **options), f"pre-trained {weights}")
    path = local(weights)
    if name == miewid.NAME:
        network = miewid.MiewId()
        _load_safetensors(network, weights_file(path) if path.is_dir() else path)
        return _describe(network, f"local weights {path.name}")
    if path.is_dir():
        return _describe(_from_folder(name, path, options), f"local folder {path.name}")
    module = _create(name, pretrained=False, **options)
    _load_safetensors(module, path)
    return _describe(module, f"local file {path.name}")


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
    for name in _WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: no {' or '.join(_WEIGHTS_FILES)} in this folder")


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


def _from_folder(name: str, folder: Path, options: dict[str, int]) -> torch.nn.Module:
    """The folder's own architecture, unless another one is asked for: weights that OpenAI trained with
    its quick GELU are published under the name of the same network with the usual one.
    """
    file = weights_file(folder)
    architecture = str(folder_config(folder).get("architecture", ""))
    if architecture and (":" in name or name.split(".")[0] in ("", architecture)):
        return _create(f"local-dir:{folder}", pretrained=True, **options)
    return _create(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **options)


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
        raise WeightsError(f"{name}: weights do not fit ({str(error)[:300]})") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{name}: weights cannot be had ({error}); give a local file") from error


def input_options(name: str, input_px: int) -> dict[str, int]:
    """`img_size` for models whose position tables depend on it; others take any size."""
    config = get_pretrained_cfg(name, allow_unregistered=True) if ":" not in name else None
    return {"img_size": input_px} if config is not None and config.fixed_input_size else {}


def _load_safetensors(module: torch.nn.Module, path: Path) -> None:
    try:
        state = miewid.renamed(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    wanted = module.state_dict()
    kept = {key: value for key, value in state.items() if key in wanted}
    missing = sorted(set(wanted) - set(kept))
    shapes = [key for key, value in kept.items() if value.shape != wanted[key].shape]
    if missing or shapes:
        raise WeightsError(
            f"{path}: made for another architecture; missing {missing[:3]} "
            f"({len(missing)} in all), of another shape {shapes[:3]}"
        )
    module.load_state_dict(kept)


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

    return any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in _WEIGHTS_FILES)


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
