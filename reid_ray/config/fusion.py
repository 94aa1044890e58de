"""Settings of a fusion: several methods of a study answer as one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.datasets import Name
from reid_ray.config.matching import Matching, Shortlist

SELECTED_TRIAL = "selected_trial"
VLAD = "vlad"


class Fusion(Config):
    """Scores of several methods, each made into the probability of the same animal, and joined.

    After WildFusion (Cermak et al. 2024, arXiv 2408.12934). What is fitted, is fitted on pairs of
    reference photos alone.
    """

    name: Name = "fused"
    parts: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of methods of the study: local features, pretrained models, `<backbone> untrained`, or
    `selected_trial`, the selected trial."""
    calibration: Literal["isotonic", "logistic"] = "isotonic"
    combine: Literal["mean", "log_odds", "learned"] = "mean"
    """What is averaged: probabilities, or their log-odds. `learned`: a small model (logistic regression) of
    what each part says of a pair and of the query's other candidates, learnt on pairs of reference photos."""
    weights: Literal["equal", "chosen"] = "equal"
    """`chosen`: those that name most reference photos rightly. `combine: learned` has weights of its own."""
    shortlist: Shortlist | None = None
    """Local features are matched, and all parts joined, only on these references."""
    leave_one_out_queries: PositiveInt = 1000
    """Leave-one-out queries, made of reference photos, to fit on, drawn at random where there are more.
    Where a part was trained on them, only the validation photos are."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _parts_differ(self) -> "Fusion":
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts must differ, found {list(self.parts)}")
        if self.combine == "learned" and self.weights == "chosen":
            raise ValueError("combine: learned has weights of its own; omit weights")
        return self

    def uses(self) -> set[str]:
        """Names of all methods it builds on."""
        return {*self.parts, *([self.shortlist.by] if self.shortlist else [])}


def check_names(
    matching: Sequence[Matching],
    fusions: Sequence[Fusion],
    *,
    encoders: Collection[str],
    trained: bool,
    validated: bool,
) -> None:
    """Refuse shortlists and parts that name nothing, or what cannot be had.

    Args:
        encoders: names of models that are scored without fine-tuning.
        trained: whether there will be a selected trial.
        validated: whether reference photos are kept out of training.

    Raises:
        ValueError: as pydantic's validators do.
    """
    embeddings = [*encoders, *([SELECTED_TRIAL] if trained else [])]
    local = {config.name: config for config in matching}
    joined = {fusion.name: fusion for fusion in fusions}
    _refuse_twice([*local, *encoders, *joined])
    lists = [*embeddings, *local, *joined]
    for config in matching:
        if config.shortlist:
            _refuse_unknown(config.name, [config.shortlist.by], [*lists, VLAD])
    for fusion in fusions:
        _refuse_unknown(fusion.name, fusion.parts, [*local, *embeddings])
        if fusion.shortlist:
            has_local = any(part in local for part in fusion.parts)
            _refuse_unknown(fusion.name, [fusion.shortlist.by], [*lists, *([VLAD] if has_local else [])])
        _refuse_other_shortlists(fusion, local.values())
    configs = by_name(matching, fusions)
    for name, one in configs.items():
        needed = required(one, configs)
        if name in needed:
            raise ValueError(f"{name} builds on itself, by its shortlist or its parts: {sorted(needed)}")
        if isinstance(one, Fusion) and SELECTED_TRIAL in needed and not validated:
            raise ValueError(
                f"{name}: a trained model is over-sure of photos it was trained on, so its "
                "scores are calibrated on validation photos, and there are none; set "
                "data.split.validation_share above 0"
            )
    for config in matching:
        refuse_unlearnt_places(config, configs)


def by_name(matching: Iterable[Matching], fusions: Iterable[Fusion]) -> dict[str, Matching | Fusion]:
    """All methods of a run that have a config of their own, by name."""
    return {**{one.name: one for one in matching}, **{one.name: one for one in fusions}}


def required(config: Matching | Fusion, configs: Mapping[str, Matching | Fusion]) -> set[str]:
    """Names of all methods that a method builds on, directly or by others."""
    found: set[str] = set()
    waiting = [config]
    while waiting:
        one = waiting.pop()
        uses = one.uses() if isinstance(one, Fusion) else {one.shortlist.by} if one.shortlist else set()
        waiting += [configs[name] for name in uses - found if name in configs]
        found |= uses
    return found


def refuse_unlearnt_places(config: Matching, configs: Mapping[str, Matching | Fusion]) -> None:
    """Behind a shortlist, weights of places are those of the shortlist's method.

    Raises:
        ValueError: that method has none.
    """
    if config.shortlist is None or config.place_weights == "off":
        return
    by = configs.get(config.shortlist.by)
    parts = [configs.get(part) for part in by.parts] if isinstance(by, Fusion) else [by]
    if not any(isinstance(one, Matching) and one.place_weights == "auto" for one in parts):
        raise ValueError(
            f"{config.name}: place_weights behind a shortlist are those that the shortlist's method has "
            f"learnt, and {config.shortlist.by!r} learns none; set place_weights to off, or give a "
            "shortlist by local features with place_weights: auto"
        )


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1 or name in (SELECTED_TRIAL, VLAD)}):
        raise ValueError(f"names of methods must differ, and not be selected_trial or vlad; found {twice}")


def _refuse_unknown(user: str, names: Iterable[str], known: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{user} names no method it can use: {unknown}; there are {list(known)}")


def _refuse_other_shortlists(fusion: Fusion, local: Iterable[Matching]) -> None:
    """Scores behind one shortlist are not calibrated for another."""
    for config in local:
        own = config.shortlist and (config.shortlist.by, config.shortlist.size)
        ours = fusion.shortlist and (fusion.shortlist.by, fusion.shortlist.size)
        if config.name in fusion.parts and own not in (None, ours):
            raise ValueError(
                f"{fusion.name}: its part {config.name} has another shortlist ({own}); give both "
                "the same, or name a method without one"
            )
