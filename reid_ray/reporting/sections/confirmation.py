"""Put the selected trial beside its second training, under DDP."""

from typing import Any

from reid_ray.reporting import verdict
from reid_ray.reporting.pooled import Method, confirmations, selected_trial_of
from reid_ray.reporting.sections.section import Section, Subject

_FIGURES = (
    ("Top-1, validation photos", "val/top1"),
    ("Top-1, seen species", "seen/top1"),
    ("mAP, seen species", "seen/mAP"),
    ("Top-1, unseen species", "unseen/top1"),
)


def _contents(subject: Subject) -> dict[str, Any] | None:
    chosen = selected_trial_of(subject.methods)
    if chosen is None:
        return None
    pairs = [_pair(chosen, again) for again in confirmations(subject.record)]
    return {"confirmed": pairs} if pairs else None


def _pair(chosen: Method, again: Method) -> dict[str, Any]:
    """The selected trial's figures beside those of its confirmation, in the same scope."""
    same = [r for r in chosen.records if r.result.scope == again.results[0].scope]
    first = Method(chosen.name, chosen.family, tuple(same) or chosen.records)
    rows = [
        {
            "label": label,
            "first": first.figures[name],
            "again": again.figures[name],
            "difference": again.figures[name] - first.figures[name],
        }
        for label, name in _FIGURES
        if name in first.figures and name in again.figures
    ]
    domain = "seen" if "seen/top1" in first.figures else "unseen"
    return {
        "name": again.name,
        "note": again.note,
        "status": again.status,
        "rows": rows,
        "domain": domain,
        "test": verdict.compare(first, again, domain),
        "losses": _first_losses(first, again),
    }


def _first_losses(first: Method, again: Method) -> dict[str, float] | None:
    """Mean training loss of the first epoch of both, before rounding could grow."""
    histories = first.records[0].history, again.records[0].history
    if not all(history and "loss" in history[0] for history in histories):
        return None
    alone, under_ddp = (history[0]["loss"] for history in histories)
    return {"first": alone, "again": under_ddp, "apart": abs(under_ddp / alone - 1) if alone else 0.0}


SECTION = Section("confirmation", "Confirmation under DDP", _contents, folded=True)
