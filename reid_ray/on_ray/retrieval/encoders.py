"""Score networks without fine-tuning, by cosine 1-NN. In: plans. Out: finished method folders."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reid_ray.datasets.prepared import Materials
from reid_ray.methods.answer import answer
from reid_ray.methods.bench import InProcess
from reid_ray.on_ray.retrieval.bench import RayBench, worst
from reid_ray.on_ray.retrieval.prepare import Embedded
from reid_ray.runs.methods import MethodFolder
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.planning import EncoderPlan


def score_encoders(plans: Sequence[EncoderPlan], bench: RayBench, study: StudyFolder) -> None:
    """Embed the photos of both sides with every plan, then search.

    A model that cannot be had is `not_run`, one that breaks `failed`, never 0; the others go on.
    """
    rows = bench.materials.rows
    scope = "+".join(pd.unique(rows["dataset"]))
    wanted = []
    for plan in plans:
        if plan.missing:
            result = plan.result(scope, status="not_run", note=plan.encoding.source, started_at=time.time())
            study.method(plan.key).finish(result)
        else:
            wanted.append(plan)
    used = np.flatnonzero(rows["split"].ne("none"))
    ended = bench.embed([plan.encoding for plan in wanted], used) if wanted else {}
    requests = {}
    for plan in wanted:
        part = worst(ended[plan.encoding])
        if part.status == "finished":
            requests[plan.key] = AnswerRequest(
                plan, bench.vectors_store.parent, study.method(plan.key).path, part
            )
        else:
            result = plan.result(scope, status=part.status, note=part.note)
            study.method(plan.key).finish(result.but(seconds=part.seconds, started_at=time.time()))
    for _ in bench.pool("embedding").run(requests, bench.shared):
        pass
    bench.release()


@dataclass(frozen=True)
class AnswerRequest:
    """Answer all queries with the vectors in the store, and write the result; returns the plan's key."""

    plan: EncoderPlan
    store: Path
    folder: Path
    embedded: Embedded

    def run(self, materials: Materials) -> str:
        began, started_at = time.monotonic(), time.time() - self.embedded.seconds
        here = InProcess(materials.images, self.store)
        found = answer(self.plan.embedding(), materials.rows, here, k=self.plan.top_k)
        result = self.plan.result(
            "+".join(pd.unique(materials.rows["dataset"])),
            metrics=found.metrics,
            seconds=self.embedded.seconds + time.monotonic() - began,
            started_at=started_at,
            note=self.embedded.note,
        )
        result = result.but(params={**result.params, **found.params})
        MethodFolder(self.folder).finish(result, found.predictions, learnt=found.learnt)
        return self.plan.key


def told_of(plans: Sequence[EncoderPlan], study: StudyFolder) -> list[str]:
    """What was not run and why, and whose licences apply to what was."""
    results = {plan.name: study.method(plan.key).result() for plan in plans}
    told = [
        f"{name} was not run: {result.note}" for name, result in results.items() if result.status == "not_run"
    ]
    licences = [
        f"{plan.name}: {plan.encoding.licence}"
        for plan in plans
        if plan.encoding.licence and results[plan.name].status == "finished"
    ]
    if licences:
        told.append(f"weights have licences of their own. {'; '.join(licences)}")
    return told
