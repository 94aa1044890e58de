"""Make the methods of a study as objects: its networks, local features, and what depends on others.

In: a study's plan and its results so far. Out: a method per name; plans of dependent methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reid_ray.config.candidate_sets import ALL
from reid_ray.config.fusion import SELECTED_TRIAL, VLAD, Fusion
from reid_ray.config.matching import Matching
from reid_ray.config.tune import Study
from reid_ray.embedding.encoding import Encoding
from reid_ray.evaluation.fusion import NEW_SHARE
from reid_ray.methods.embedding import Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Method
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.runs.methods import Family, method_key
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.planning import StudyPlan
from reid_ray.studies.trial import Plan


@dataclass(frozen=True)
class DependentPlan:
    """A method that builds on others of the study.

    Attributes:
        method: None where something it requires is not there, which `lacking` names.
    """

    key: str
    config: Matching | Fusion
    method: Method | None
    lacking: str = ""

    @property
    def family(self) -> Family:
        return "fusion" if isinstance(self.config, Fusion) else "local features"


def trained_embedding(trials: Sequence[Plan], folder: StudyFolder, name: str) -> Embedding:
    """One setting of the grid, trained once or once per collection."""
    encodings = {
        collection: Encoding(
            plan.trial.backbone,
            plan.weights,
            plan.trial.input_px,
            plan.trial.seed,
            checkpoint=str(folder.method(plan.key).checkpoint_path),
        )
        for plan in trials
        for collection in plan.datasets
    }
    sets = trials[0].sets if trials else ALL
    return Embedding(name, method_key(SELECTED_TRIAL, [one.key for one in trials]), encodings, True, sets)


def same_setting(plan: Plan, plans: Sequence[Plan], folder: StudyFolder) -> list[Plan]:
    """The finished trials of one setting: one, or one per collection."""
    return [
        one
        for one in plans
        if one.trial == plan.trial
        and folder.method(one.key).finished()
        and folder.method(one.key).result().status == "finished"
    ]


def embeddings(plan: StudyPlan, selected_trial: Plan | None, folder: StudyFolder) -> dict[str, Embedding]:
    """By name, the networks that shortlists and fusions may build on."""
    found = {
        one.name: one.embedding()
        for one in plan.encoders
        if not one.missing and folder.method(one.key).done()
    }
    if selected_trial is not None:
        found[SELECTED_TRIAL] = trained_embedding(
            same_setting(selected_trial, plan.trials, folder), folder, SELECTED_TRIAL
        )
    return found


def plan_dependent(
    study: Study, plan: StudyPlan, selected_trial: Plan | None, rows: pd.DataFrame, folder: StudyFolder
) -> list[DependentPlan]:
    """Methods behind a shortlist, then fusions, in the config's order."""
    networks = embeddings(plan, selected_trial, folder)
    local = {one.name: one for one in study.baselines.matching}
    keys = {matcher.config.name: matcher.key for matcher in plan.matchers}
    new_share = NEW_SHARE if _has_unknown(rows) else 0.0
    plans = []
    configs: list[Matching | Fusion] = [one for one in local.values() if one.shortlist]
    for config in [*configs, *study.fusion]:
        uses = required(config, local)
        lacking = sorted(uses - set(networks) - set(local) - {VLAD})
        settings = [local[part].canonical() for part in sorted(uses & set(local))]
        used = [networks[name].key for name in sorted(uses) if name in networks] + lacking
        kind = "fusion" if isinstance(config, Fusion) else "matching"
        key = method_key(kind, config.canonical(), settings, used, study.top_k, plan.digest)
        keys[config.name] = key
        method = None if lacking else _method(config, networks, local, keys, folder, new_share)
        plans.append(DependentPlan(key, config, method, "".join(lacking[:1])))
    return plans


def required(config: Matching | Fusion, local: Mapping[str, Matching]) -> set[str]:
    """Names of all methods that a method builds on, those of its parts' shortlists too."""
    if isinstance(config, Matching):
        return {config.shortlist.by} if config.shortlist else set()
    behind = {one.shortlist.by for p in config.parts if (one := local.get(p)) and one.shortlist}
    return config.uses() | behind


def _method(
    config: Matching | Fusion,
    networks: Mapping[str, Embedding],
    local: Mapping[str, Matching],
    keys: Mapping[str, str],
    folder: StudyFolder,
    new_share: float,
) -> Method:
    if isinstance(config, Matching):
        return _local(config, networks)
    parts = [networks[part] if part in networks else _local(local[part], networks) for part in config.parts]
    folders = [folder.method(keys[part]) if part in local else None for part in config.parts]
    return Fusing(
        config,
        tuple(parts),
        networks.get(config.shortlist.by) if config.shortlist else None,
        part_folders=tuple(None if one is None else one.path for one in folders),
        part_learnt=tuple({} if one is None else one.learnt() for one in folders),
        new_share=new_share,
    )


def _local(config: Matching, networks: Mapping[str, Embedding]) -> Method:
    plain = LocalFeatures(config, share_scores=True)
    if config.shortlist is None:
        return plain
    return Shortlisted(LocalFeatures(config), networks.get(config.shortlist.by))


def method_of(key: str, plan: StudyPlan, dependent: Sequence[DependentPlan], folder: StudyFolder) -> Method:
    """The method with this key, as an object; KeyError if the study has none."""
    for encoder in plan.encoders:
        if encoder.key == key:
            return encoder.embedding()
    for matcher in plan.matchers:
        if matcher.key == key:
            return LocalFeatures(matcher.config)
    for one in dependent:
        if one.key == key and one.method is not None:
            return one.method
    for trial in plan.trials:
        if trial.key == key:
            return trained_embedding(same_setting(trial, plan.trials, folder), folder, trial.trial.label)
    raise KeyError(key)


def _has_unknown(rows: pd.DataFrame) -> bool:
    """Whether some queries show animals without a reference in their collection."""
    names = rows["dataset"].astype(str) + "/" + rows["identity"].astype(str)
    known = set(names[rows["split"].eq("reference")])
    return not set(names[rows["split"].eq("query")]) <= known
