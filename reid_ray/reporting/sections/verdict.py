"""Say which method is best and how sure that is, in words and key figures."""

from typing import Any

from reid_ray.reporting import verdict
from reid_ray.reporting.closing import next_command
from reid_ray.reporting.pooled import selected_method
from reid_ray.reporting.sections.encounters import changed, encounters_table
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any]:
    study = subject.record.study
    selected = selected_method(subject.record)
    return {
        "verdicts": verdict.domain_verdicts(subject.methods),
        "selected": selected,
        "rivals": verdict.rival_lines(selected, subject.methods) if selected else [],
        "example": _example(subject, selected.name if selected else ""),
        "command": next_command(subject.record),
        "choice": verdict.choice_sentence(study),
        "passed_over": verdict.passed_over(subject.methods),
        "warnings": list(study.get("warnings") or ()),
        "totals": _totals(subject),
        "afield": _afield(subject),
    }


def _example(subject: Subject, method: str) -> dict[str, Any] | None:
    """A right answer to look at: the selected method's, or another's where it shows none."""
    panels = subject.gallery["panels"] if subject.gallery else []
    for panel in sorted(panels, key=lambda panel: panel["method"] != method):
        if right := [case for case in panel["cases"] if case["correct"]]:
            best: dict[str, Any] = max(right, key=lambda case: case["matches"] or 0)
            return best
    return None


def _afield(subject: Subject) -> dict[str, dict[str, Any]]:
    """Per domain, the best method where references of the query's own encounter may not answer;
    nothing where that changes no figure."""
    table = encounters_table(subject)
    known = table[table["other_encounter_top1"].notna() & changed(table)]
    best = known.sort_values("other_encounter_top1", ascending=False, kind="stable")
    rows: list[dict[str, Any]] = best.drop_duplicates("domain").to_dict("records")  # type: ignore[assignment]
    return {str(row["domain"]): row for row in rows}


def _totals(subject: Subject) -> dict[str, int]:
    audit = subject.audit
    real = [method for method in subject.methods if method.family != "chance"]
    finished = sum(method.finished for method in real)
    stopped = sum(method.stopped for method in real)
    return {
        "photos": int(audit["photos"].sum()) if len(audit) else 0,
        "identities": int(audit["identities"].sum()) if len(audit) else 0,
        "datasets": len(audit),
        "finished": finished,
        "stopped": stopped,
        "unfinished": len(real) - finished - stopped,
    }


SECTION = Section("verdict", "Verdict", _contents)
