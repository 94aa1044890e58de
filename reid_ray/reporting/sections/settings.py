"""Show which settings of training matter: box plots, and the same figures as a table."""

from functools import partial
from typing import Any

from reid_ray.reporting import boxes, tables
from reid_ray.reporting.per_setting import best_settings, per_setting
from reid_ray.reporting.pooled import TRAINED
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    backbones = drawing(partial(boxes.backbone_by_loss, subject.methods), "backbones")
    arms = _arms(subject)
    if not (backbones or arms):
        return None
    ablation = tables.ablation(subject.methods).to_dict("records")
    bests = best_settings(per_setting(subject.methods)).to_dict("records")
    return {
        "backbones": backbones,
        "arms": arms,
        "ablation": ablation,
        "bests": bests,
        "stopped": sum(method.stopped for method in subject.trials),
    }


def _arms(subject: Subject) -> list[dict[str, Any]]:
    arms = []
    for family in TRAINED:
        draw = partial(boxes.hyper_parameters, subject.methods, family)
        svg = drawing(draw, f"settings-{family.lower()}")
        if svg:
            arms.append({"family": family, "svg": svg})
    return arms


SECTION = Section(
    "settings",
    "Which settings matter",
    _contents,
    lambda subject: {
        "settings.csv": tables.ablation(subject.methods),
        "per_setting.csv": per_setting(subject.methods),
    },
)
