"""The last words of a study on the terminal: what is best, and where to look."""

from pathlib import Path

from reid_ray.reporting.pooled import pooled_methods
from reid_ray.reporting.verdict import domain_verdicts
from reid_ray.runs.study import StudyRecord

UI_PORT = 5000


def closing_words(record: StudyRecord, report: Path, tracking_uri: str, compare: str) -> str:
    """Plain text: best method per domain, the report, and how to compare runs in MLflow."""
    lines = ["", *best_lines(record)]
    lines += ["", f"Report:   {report.absolute()}"]
    served = tracking_uri.startswith(("http://", "https://"))
    if not served:
        lines.append(f"MLflow:   mlflow ui --port {UI_PORT} --backend-store-uri {tracking_uri}")
    if compare:
        host = tracking_uri.rstrip("/") if served else f"http://127.0.0.1:{UI_PORT}"
        lines.append(f"Compare:  {host}{compare}")
    return "\n".join(lines)


def summary_text(record: StudyRecord) -> str:
    """Markdown for the summary run in MLflow."""
    return "\n".join(f"- {line.strip()}" for line in best_lines(record))


def best_lines(record: StudyRecord) -> list[str]:
    """The best method per domain with its interval, and how it compares with the next."""
    lines = []
    for verdict in domain_verdicts(pooled_methods(record)):
        low, top1, high = (100 * verdict.figure(name) for name in ("top1_low", "top1", "top1_high"))
        guess = "" if verdict.chance is None else f", chance {100 * verdict.chance:.1f} %"
        lines.append(
            f"Best on {verdict.domain} animals: {verdict.best.name}, top-1 {top1:.1f} % "
            f"({low:.1f} to {high:.1f}; {verdict.figure('queries'):.0f} query photos{guess})"
        )
        lines += [f"  {comparison}" for comparison in verdict.comparisons]
    return lines
