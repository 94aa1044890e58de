"""Models that are scored without fine-tuning: named ones with what is known of them, or a user's own."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reid_ray.config.base import Config, read_yaml
from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.datasets import Name
from reid_ray.errors import ConfigError

_BUILT_IN = Path(__file__).with_name("published.yaml")
MORE = "REID_RAY_MODELS"
"""Environment variable: path of a list in the form of `published.yaml`, added to it."""

Three = tuple[float, float, float]


class KReciprocal(Config):
    """Put the best references in order again by k-reciprocal neighbours (Zhong et al. 2017). Which of these
    settings, or the embedding's own order, is chosen on the references.
    """

    size: Annotated[int, Field(ge=2, le=1000)] = 200
    """References that are put in order again; the others follow in the embedding's order."""
    k1: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (5, 10, 20)
    """Lengths of the lists of nearest photos."""
    k2: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 3, 6)
    """Photos whose lists are averaged."""
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.1, 0.3, 0.6)
    """Shares of the plain distance in the final one; 1 leaves the order as it was."""
    leave_one_out_queries: PositiveInt = 1000
    """Leave-one-out queries, made of reference photos, to choose with."""
    seed: NonNegativeInt = 0


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
    rerank: KReciprocal | None = None
    """Re-ranking by k-reciprocal neighbours; omit to disable, `{}` for the usual settings."""
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
        if isinstance(rerank := given.get("rerank"), dict):
            given = {**given, "rerank": _with_tuples(rerank)}
        return _with_tuples(given)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its vectors."""
        told = {"name", "licence", "remark", "rerank", *CandidateSets.model_fields}
        return self.model_dump(mode="json", exclude=told)


def _with_tuples(given: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


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
