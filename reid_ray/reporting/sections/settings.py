"""Show which settings of training matter: box plots, and the same figures as a table."""

from typing import Any

from reid_ray.reporting import boxes, tables
from reid_ray.reporting.pooled import TRAINED
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    backbones, arms = boxes.backbone_by_loss(subject.methods), _arms(subject)
    if not (backbones or arms):
        return None
    ablation = tables.ablation(subject.methods).to_dict("records")
    return {"backbones": drawing(backbones), "arms": arms, "ablation": ablation}


def _arms(subject: Subject) -> list[dict[str, Any]]:
    arms = []
    for family in TRAINED:
        svg = boxes.hyper_parameters(subject.methods, family, name=f"settings-{family.lower()}")
        if svg:
            arms.append({"family": family, "svg": drawing(svg)})
    return arms


SECTION = Section(
    "settings",
    "Which settings matter",
    _contents,
    lambda subject: {"settings.csv": tables.ablation(subject.methods)},
)
