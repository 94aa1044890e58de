"""List everything a study has to do, each with a key that says whether it is done already.

In: the config, the decoded table. Out: plans of trials, encoders, matchers.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from reid_ray.config.base import as_written
from reid_ray.config.candidate_sets import ALL, CandidateSets
from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import Matching
from reid_ray.config.models import KReciprocal, Pretrained
from reid_ray.config.training import Trial
from reid_ray.config.tune import Search, Study
from reid_ray.datasets.schema import KEYPOINTS
from reid_ray.embedding.availability import Found, find
from reid_ray.embedding.backbones import resolve_weights
from reid_ray.embedding.encoding import Encoding
from reid_ray.errors import ConfigError
from reid_ray.methods.embedding import ANY, Embedding
from reid_ray.runs.methods import Family, MethodFolder, Result, method_key
from reid_ray.studies.trial import Plan


@dataclass(frozen=True)
class MatchPlan:
    """One local-feature method over all datasets."""

    key: str
    config: Matching


@dataclass(frozen=True)
class EncoderPlan:
    """A model to be scored without fine-tuning.

    Attributes:
        missing: whether the weights are nowhere; `encoding.source` then says how to get them.
        sets: which references may answer.
        rerank: settings to choose from for re-ranking by k-reciprocal neighbours.
    """

    key: str
    name: str
    family: Family
    encoding: Encoding
    top_k: int
    missing: bool = False
    sets: CandidateSets = ALL
    rerank: KReciprocal | None = None

    def embedding(self) -> Embedding:
        """As a method."""
        return Embedding(self.name, self.key, {ANY: self.encoding}, sets=self.sets, rerank=self.rerank)

    def result(self, scope: str, **fields: Any) -> Result:
        """The result with what is known beforehand."""
        params: dict[str, str | int | float | bool] = {
            "backbone": self.encoding.model,
            "input_px": self.encoding.input_px,
            "seed": self.encoding.seed,
        }
        if self.encoding.licence:
            params["licence"] = self.encoding.licence
        return Result(
            key=self.key,
            method=self.name,
            kind="baseline",
            family=self.family,
            scope=scope,
            params=params,
            **fields,
        )


def left_to_do(folder: MethodFolder, *, search: Search) -> bool:
    """Whether a trial has no result yet; a full grid also wants what ASHA once stopped."""
    if not folder.done():
        return True
    return search == "grid" and folder.result().status == "stopped"


@dataclass(frozen=True)
class StudyPlan:
    """All methods of a study, in the order they are shown.

    Attributes:
        digest: of the data that all of them are run on; see `table_digest`.
    """

    digest: str
    chance_key: str
    encoders: list[EncoderPlan]
    matchers: list[MatchPlan]
    trials: list[Plan]

    def keys(self) -> list[str]:
        encoders, matchers = ((plan.key for plan in self.encoders), (plan.key for plan in self.matchers))
        return [self.chance_key, *encoders, *matchers, *(plan.key for plan in self.trials)]


def table_digest(rows: pd.DataFrame, study: Study) -> str:
    """Changes with any photo, name, split or preparation, so that results of other data are never reused."""
    columns = ["key", "identity", "content", "split", "validation", "domain"]
    methods: list[CandidateSets] = [study.candidates, *study.baselines.matching, *study.baselines.pretrained]
    columns += sorted({column for one in methods for column in one.rules if column in rows})
    columns += [KEYPOINTS] if KEYPOINTS in rows else []
    digest = hashlib.sha256(study.data.images.canonical().encode())
    digest.update(pd.util.hash_pandas_object(rows[columns], index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def plan_study(study: Study, rows: pd.DataFrame) -> StudyPlan:
    """Expand the grid and the baselines over the collections.

    Raises:
        ConfigError: the search has nothing to judge trials by.
    """
    if study.search == "asha" and not rows["validation"].any():
        raise ConfigError(
            "search: asha judges trials by validation photos, and the table marks none; mark some, raise "
            "data.split.validation_share, or set search: grid"
        )
    digest = table_digest(rows, study)
    return StudyPlan(
        digest=digest,
        chance_key=method_key("chance", digest),
        encoders=_encoders(study, digest),
        matchers=[
            MatchPlan(method_key("matching", config.canonical(), study.top_k, digest), config)
            for config in study.baselines.matching
            if config.shortlist is None  # with one it may need a trained network: see `plan_dependent`
        ],
        trials=_trials(study, rows, digest),
    )


def pair_count(rows: pd.DataFrame, *, most: int | None = None) -> int:
    """Query-reference pairs over all collections, each by itself; at most `most` per query."""
    counts = pd.crosstab(rows["dataset"], rows["split"]).reindex(columns=["query", "reference"])
    references = counts["reference"] if most is None else counts["reference"].clip(upper=most)
    return int((counts["query"] * references).fillna(0).sum())


def pairs_of(rows: pd.DataFrame, config: Matching | Fusion) -> int:
    """Pairs that a local-feature method or a fusion scores for the queries."""
    if isinstance(config, Matching):
        return pair_count(rows, most=matched_most(config))
    return pair_count(rows, most=config.shortlist.size if config.shortlist else None)


def matched_most(config: Matching) -> int | None:
    """References matched per query; None: all."""
    if config.shortlist is None or config.shortlist.curve == "all":
        return None
    return config.shortlist.size


def dataset_inputs(rows: pd.DataFrame, study: Study) -> list[dict[str, str]]:
    """Each collection as a tracking input; the digest is that of its photos and names."""
    inputs = []
    roots = {one.name: str(as_written(getattr(one, "root", one.source))) for one in study.data.datasets}
    for name, part in rows.groupby("dataset", sort=False):
        content = pd.util.hash_pandas_object(part[["image_id", "identity", "content"]], index=False)
        inputs.append(
            {
                "name": str(name),
                "digest": hashlib.sha256(content.to_numpy().tobytes()).hexdigest()[:16],
                "source": roots[str(name)],
                "context": "+".join(pd.unique(part["domain"])),
            }
        )
    return inputs


def confirmation(plan: Plan, *, workers: int) -> Plan:
    """The same training once more, under DDP."""
    key = method_key("confirmation", plan.key, workers)
    return replace(plan, key=key, kind="confirmation", rungs=frozenset())


def scopes(study: Study, rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """Which datasets each model is trained and evaluated on together."""
    names = tuple(str(name) for name in pd.unique(rows["dataset"]))
    if study.scope == "joint":
        return [names]
    seen = set(rows.loc[rows["domain"] == "seen", "dataset"])
    return [(name,) for name in names if name in seen]


def _trials(study: Study, rows: pd.DataFrame, digest: str) -> list[Plan]:
    weights = {name: resolve_weights(name, study.training.weights_of(name)) for name in study.backbones()}
    rules = [study.candidates.canonical()] if study.candidates.rules else []
    rungs = study.asha.rungs(study.training.epochs) if study.search == "asha" else frozenset[int]()

    def plan(trial: Trial, datasets: tuple[str, ...]) -> Plan:
        source, note = weights[trial.backbone]
        key = method_key("trial", trial.canonical(), source, datasets, study.top_k, digest, *rules)
        return Plan(
            key, "trial", trial, datasets, source, note, study.top_k, sets=study.candidates, rungs=rungs
        )

    return [plan(trial, scope) for trial in study.trials() for scope in scopes(study, rows)]


def _encoders(study: Study, digest: str) -> list[EncoderPlan]:
    px, seed = study.training.input_px, study.training.seed
    untrained = [
        EncoderPlan(
            key=method_key("untrained", name, px, seed, digest),
            name=f"{name} untrained",
            family="untrained",
            encoding=Encoding(name, "random", px, seed),
            top_k=study.top_k,
        )
        for name in (study.backbones() if study.baselines.random_init else ())
    ]
    pretrained = [
        pretrained_plan(
            model, digest, short_px=study.data.images.short_px, seed=study.training.seed, top_k=study.top_k
        )
        for model in study.baselines.pretrained
    ]
    return untrained + pretrained


def enlarged(short_px: int, found: Found) -> str:
    """A warning where photos are kept smaller, by their shorter side, than the model looks at."""
    if found.input_px <= short_px:
        return ""
    return f"; photos are kept at {short_px} px and enlarged, see data.images.short_px"


def encoding_of(model: Pretrained, found: Found, *, short_px: int, seed: int = 0) -> Encoding:
    """A published model with where its weights are.

    Args:
        short_px: shorter side of the photos it is applied to.
    """
    return Encoding(
        model=found.architecture or model.model or model.name,
        weights=found.weights,
        input_px=found.input_px,
        seed=seed,
        mean=model.mean,
        std=model.std,
        interpolation=model.interpolation,
        source=found.sentence + ("" if found.missing else enlarged(short_px, found)),
        licence=model.licence,
    )


def pretrained_plan(model: Pretrained, digest: str, *, short_px: int, seed: int, top_k: int) -> EncoderPlan:
    """A model to be scored without fine-tuning; `missing` where its weights are nowhere.

    Args:
        digest: of the photos it is applied to.
    """
    found = find(model)
    rules = [model.alone.canonical()] if model.rules else []
    rules += [model.rerank.canonical()] if model.rerank else []
    return EncoderPlan(
        key=method_key("pretrained", model.name, model.settings, seed, found.version, top_k, digest, *rules),
        name=model.name,
        family="untrained" if found.status == "random" else "pretrained",
        encoding=encoding_of(model, found, short_px=short_px, seed=seed),
        top_k=top_k,
        missing=found.missing,
        sets=model.alone,
        rerank=model.rerank,
    )
