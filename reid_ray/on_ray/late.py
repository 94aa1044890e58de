"""Plan and run what builds on other methods: matching behind a shortlist, and fusions.

In: a study's plan and its winner. Out: finished method folders. It comes last, as it may use the
winner.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
import ray

from reid_ray.config.fusion import VLAD, WINNER, Fusion
from reid_ray.config.matching import Matching
from reid_ray.config.tune import Study
from reid_ray.errors import ReidError, WeightsError
from reid_ray.evaluation.calibration import answers_calibration
from reid_ray.evaluation.metrics import summarise
from reid_ray.on_ray.fusion import FusionParts, LocalMethod, run_fusion
from reid_ray.on_ray.matching import Params, run_matching
from reid_ray.on_ray.vectors import Embedded, Source, embedded
from reid_ray.progress import Display
from reid_ray.runs.methods import Family, Result, Status, method_key
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.planning import StudyPlan, matched_most, pair_count
from reid_ray.studies.trial import Plan, within

Finished = tuple[pd.DataFrame, Params, dict[str, float]]


@dataclass(frozen=True)
class LatePlan:
    """One method that builds on others.

    Attributes:
        sources: the embeddings it uses, by name.
        lacking: name of a method it needs and that there is not; "": all are there.
    """

    key: str
    config: Matching | Fusion
    sources: dict[str, Source]
    lacking: str = ""

    @property
    def family(self) -> Family:
        return "fusion" if isinstance(self.config, Fusion) else "local features"


def plan_late(
    study: Study, plan: StudyPlan, winner: Plan | None, rows: pd.DataFrame, folder: StudyFolder
) -> list[LatePlan]:
    """Methods behind a shortlist, then fusions, in the config's order."""
    datasets = [str(name) for name in pd.unique(rows["dataset"])]
    sources = {
        one.name: Source.as_it_comes(one, datasets, folder) for one in plan.encoders if not one.missing
    }
    if winner is not None:
        same = [
            one
            for one in plan.trials
            if one.trial == winner.trial and folder.method(one.key).result().status == "finished"
        ]
        key = method_key("winner", [one.key for one in same])
        sources[WINNER] = Source.winner(WINNER, key, same, folder)
    listed = study.baselines.matching
    late = [_late(one, {one.shortlist.by}, sources, study, plan) for one in listed if one.shortlist]
    local = {one.name: one for one in listed}
    for fusion in study.fusion:
        behind = {one.shortlist.by for p in fusion.parts if (one := local.get(p)) and one.shortlist}
        uses = (fusion.uses() | behind) - set(local)
        settings = [local[part].canonical() for part in fusion.parts if part in local]
        late.append(_late(fusion, uses, sources, study, plan, settings))
    return late


def _late(
    config: Matching | Fusion,
    uses: set[str],
    sources: dict[str, Source],
    study: Study,
    plan: StudyPlan,
    settings: Sequence[str] = (),
) -> LatePlan:
    used = {name: sources[name] for name in sorted(uses) if name in sources}
    lacking = sorted(uses - set(used) - {VLAD})
    kind = "fusion" if isinstance(config, Fusion) else "matching"
    keys = [used[name].key for name in used] + lacking
    key = method_key(kind, config.canonical(), list(settings), keys, study.top_k, plan.digest)
    return LatePlan(key, config, used, "".join(lacking[:1]))


@dataclass
class Late:
    """Runs late plans; vectors are made once for all of them.

    Attributes:
        actors: matching processes.
        gpus: of the task that embeds.
        early: keys of the local-feature methods without a shortlist, by name.
    """

    study: Study
    folder: StudyFolder
    materials: ray.ObjectRef
    rows: pd.DataFrame
    display: Display
    actors: int
    gpus: float
    early: dict[str, str]
    _vectors: dict[str, Embedded] = field(default_factory=dict)

    def run(self, plans: Sequence[LatePlan], ended: Callable[[str], None]) -> None:
        """Do what has no result yet; what cannot be done is `not_run` or `failed`, the others go
        on.
        """
        keys = self.early | {plan.config.name: plan.key for plan in plans}
        for plan in plans:
            folder = self.folder.method(plan.key)
            if not folder.done():
                self._run(plan, keys)
            ended(plan.key)

    def _run(self, plan: LatePlan, keys: dict[str, str]) -> None:
        folder = self.folder.method(plan.key)
        result = Result(
            key=plan.key,
            method=plan.config.name,
            kind="baseline",
            family=plan.family,
            scope="+".join(pd.unique(self.rows["dataset"])),
            started_at=time.time(),
        )
        if plan.lacking:
            note = f"it builds on {plan.lacking}, which there is not"
            folder.finish(result.but(status="not_run", note=note))
            return
        began = time.monotonic()
        try:
            vectors = {name: self._embedded(source) for name, source in plan.sources.items()}
            predictions, params, metrics = (
                self._fuse(plan, vectors, keys)
                if isinstance(plan.config, Fusion)
                else self._match(plan, plan.config, vectors)
            )
        except ReidError as error:
            status: Status = "not_run" if isinstance(error, WeightsError) else "failed"
            folder.finish(result.but(status=status, note=str(error)))
            return
        scope = "+".join(pd.unique(predictions["dataset"]))
        seconds = time.monotonic() - began
        metrics = summarise(predictions) | metrics
        folder.finish(result.but(scope=scope, params=params, metrics=metrics, seconds=seconds), predictions)

    def _embedded(self, source: Source) -> Embedded:
        if source.key not in self._vectors:
            self._vectors[source.key] = embedded(source, self.materials, self.rows, gpus=self.gpus)
        return self._vectors[source.key]

    def _match(self, plan: LatePlan, config: Matching, vectors: dict[str, Embedded]) -> Finished:
        near = next(iter(vectors.values()), None)
        rows = self.rows if near is None else within(self.rows, near.datasets)
        total = pair_count(rows, most=matched_most(config))
        with self.display.phase(config.name, total, "pairs matched") as phase:
            matched = run_matching(
                self.materials,
                self.rows,
                config,
                self.folder.method(plan.key),
                actors=self.actors,
                k=self.study.top_k,
                embedded=near,
                progress=lambda done, _total, detail: phase.at(done, detail),
            )
        return matched.predictions, matched.params, matched.metrics

    def _fuse(self, plan: LatePlan, vectors: dict[str, Embedded], keys: dict[str, str]) -> Finished:
        assert isinstance(plan.config, Fusion)
        config = plan.config
        local = {one.name: one for one in self.study.baselines.matching}
        methods = tuple(
            LocalMethod(local[part], self.folder.method(keys[part])) if part in local else vectors[part]
            for part in config.parts
        )
        near = vectors.get(config.shortlist.by) if config.shortlist else None
        parts = FusionParts(methods, near)
        rows = self.rows
        for embedding in parts.embeddings():
            rows = within(rows, embedding.datasets)
        total = pair_count(rows, most=config.shortlist.size if config.shortlist else None)
        with self.display.phase(config.name, total, "pairs joined") as phase:
            joined = run_fusion(
                self.materials,
                self.rows,
                config,
                parts,
                self.folder.method(plan.key),
                actors=self.actors,
                k=self.study.top_k,
                progress=lambda done, _total, detail: phase.at(done, detail),
            )
        return joined.predictions, joined.params, answers_calibration(joined.predictions)
