"""Models that are scored without fine-tuning: named ones with what is known of them, or a user's own."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reid_ray.config.base import read_yaml
from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.datasets import Name
from reid_ray.errors import ConfigError

_BUILT_IN = Path(__file__).with_name("published.yaml")
MORE = "REID_RAY_MODELS"
"""Environment variable: path of a list in the form of `published.yaml`, added to it."""

Three = tuple[float, float, float]


class Pretrained(CandidateSets):
    """A pretrained model, scored without fine-tuning, by cosine 1-NN. The name of a known one alone will do.

    What is given beside a known name takes the place of what is known (`weights: DIR`, most often).
    """

    name: Name
    model: str = ""
    """timm name with tag, `hf-hub:` id, timm folder (with a `/`), or `miewid`; may be left out where
    `weights` is a timm folder."""
    weights: str = "auto"
    """`auto`: from the local cache, else downloaded; `cached`: never downloaded; `random`; a timm folder
    (a study's `selected_trial`), or a safetensors file of `model`; of this machine or `s3://...`."""
    hub: str = ""
    """Repository of the weights; none: timm's own for `model`."""
    input_px: Annotated[int, Field(ge=32, le=1024)] | None = None
    """None: the input size of the weights."""
    mean: Three | None = None
    std: Three | None = None
    """Of RGB in 0..1; none: what the weights say."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    licence: str = ""
    """Of the weights; told in the report."""
    remark: str = ""
    """How to get the weights, where that is not by the hub."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, raw: Any) -> Any:
        """Fill in what is known of a name."""
        given = {"name": raw} if isinstance(raw, str) else raw
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            return given
        known = published()
        if given["name"] in known:
            given = {**known[given["name"]], **given}
        elif not given.get("model") and given.get("weights", "auto") in ("auto", "cached", "random"):
            raise ValueError(
                f"no model is known as {given['name']!r}; known are {sorted(known)}; for another one "
                "give model: (a timm name or hf-hub: id) or weights: (a timm folder)"
            )
        # Behind this step values are checked as Python's, where an array is a tuple.
        return {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its vectors."""
        told = {"name", "licence", "remark", *CandidateSets.model_fields}
        return self.model_dump(mode="json", exclude=told)


def published() -> dict[str, dict[str, Any]]:
    """Known models by name, the built-in ones and those of `REID_RAY_MODELS`.

    Raises:
        ConfigError: the user's list cannot be read.
    """
    known = read_yaml(_BUILT_IN)
    if path := os.environ.get(MORE):
        known |= read_yaml(Path(path))
    for name, entry in known.items():
        if not isinstance(entry, dict):
            raise ConfigError(f"{os.environ.get(MORE, _BUILT_IN)}: {name} is not a map of settings")
    return dict(known)
