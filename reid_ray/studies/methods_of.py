"""Make the methods of a study as objects: its networks, local features, and what depends on others.

In: a study's plan and its results so far. Out: a method per name; plans of dependent methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reid_ray.config.candidate_sets import ALL
from reid_ray.config.fusion import SELECTED_TRIAL, VLAD, Fusion, by_name, required
from reid_ray.config.matching import Matching
from reid_ray.config.tune import Study
from reid_ray.embedding.encoding import Encoding
from reid_ray.methods.embedding import Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Learnt, Method
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
    study: Study, plan: StudyPlan, selected_trial: Plan | None, folder: StudyFolder
) -> list[DependentPlan]:
    """Methods behind a shortlist, and fusions: each after those it builds on, else in the config's order."""
    networks = embeddings(plan, selected_trial, folder)
    configs = by_name(study.baselines.matching, study.fusion)
    keys = {matcher.config.name: matcher.key for matcher in plan.matchers}
    made = _Made(networks, configs, keys, folder)
    plans = []
    for config in in_order(configs):
        uses = required(config, configs)
        lacking = sorted(uses - set(networks) - set(configs) - {VLAD})
        settings = [configs[name].canonical() for name in sorted(uses & set(configs))]
        used = [networks[name].key for name in sorted(uses) if name in networks] + lacking
        # Fusions under "fusion" were scored by a last curve, whose flat steps hid which photo is nearer.
        kind = "averaging fusion" if isinstance(config, Fusion) else "matching"
        key = method_key(kind, config.canonical(), settings, used, study.top_k, plan.digest)
        keys[config.name] = key
        plans.append(
            DependentPlan(key, config, None if lacking else made.method(config), "".join(lacking[:1]))
        )
    return plans


def in_order(configs: Mapping[str, Matching | Fusion]) -> list[Matching | Fusion]:
    """Those that build on others, each after all it builds on; local features first, where they can be."""
    waiting = [one for one in configs.values() if isinstance(one, Fusion) or one.shortlist]
    waiting.sort(key=lambda one: isinstance(one, Fusion))
    found: list[Matching | Fusion] = []
    while waiting:
        blocked = {one.name for one in waiting}
        free = next(one for one in waiting if not required(one, configs) & blocked)
        found.append(free)
        waiting.remove(free)
    return found


@dataclass(frozen=True)
class _Made:
    """Makes methods out of their configs.

    Attributes:
        keys: of those that are planned already, by name.
    """

    networks: Mapping[str, Embedding]
    configs: Mapping[str, Matching | Fusion]
    keys: Mapping[str, str]
    folder: StudyFolder

    def method(self, config: Matching | Fusion) -> Method:
        near = self._named(config.shortlist.by) if config.shortlist else _Used()
        if isinstance(config, Matching):
            if config.shortlist is None:
                return LocalFeatures(config, share_scores=True)
            return Shortlisted(LocalFeatures(config), near.method, near.path, near.learnt)
        parts = [self._named(part) for part in config.parts]
        return Fusing(
            config,
            tuple(one.method for one in parts if one.method is not None),
            near.method,
            part_folders=tuple(one.path for one in parts),
            part_learnt=tuple(one.learnt for one in parts),
            near_folder=near.path,
            near_learnt=near.learnt,
        )

    def _named(self, name: str) -> "_Used":
        """Another method of the study, with its finished work; nothing for VLAD."""
        if name in self.networks:
            return _Used(self.networks[name])
        if name not in self.configs:
            return _Used()
        own = self.folder.method(self.keys[name])
        return _Used(self.method(self.configs[name]), own.path, own.learnt())


@dataclass(frozen=True)
class _Used:
    """A method that another one builds on."""

    method: Method | None = None
    path: Path | None = None
    learnt: Mapping[str, Learnt] = field(default_factory=dict)


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
