"""Show how training went: loss and validation accuracy per epoch."""

from functools import partial
from typing import Any

from reid_ray.reporting import figures
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    if not any(trial.finished and trial.records[0].history for trial in subject.trials):
        return None
    return {"curves": drawing(partial(figures.training_curves, subject.methods), "training")}


SECTION = Section("training", "Training", _contents, folded=True)
