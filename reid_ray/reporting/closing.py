"""The last words of a study on the terminal: what is best, and where to look."""

from pathlib import Path

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting.markdown import as_text
from reid_ray.reporting.pooled import Method, confirmations, pooled_methods, selected_method
from reid_ray.reporting.transfer import transfer_lines
from reid_ray.reporting.verdict import domain_verdicts
from reid_ray.runs import files
from reid_ray.runs.storage import address
from reid_ray.runs.study import StudyRecord

UI_PORT = 5000
FAMILIES = ("chance", "untrained", "local features", "pretrained", "ArcFace", "Triplet", "fusion")


def closing_words(record: StudyRecord, *, report: Path, tracking_uri: str, compare: str, model: Path) -> str:
    """Plain text: best method per domain, a short leaderboard, the report, how to open MLflow.

    Args:
        compare: the UI's address, after its host, that compares the runs; "" leaves it out.
        model: folder of the selected method, named if it is there.
    """
    lines = ["", *family_lines(record), "", *best_lines(record), *transfer_lines(record)]
    lines += ["", *selected_lines(record), f"Report:   {address(report)}"]
    if files.exists(model / "method.json"):
        lines.append(f"Method:   {address(model)}")
        if compare:
            lines.append(f"          in MLflow models:/{record.study['name']}@selected")
    served = tracking_uri.startswith(("http://", "https://"))
    if not served:
        lines.append(f"MLflow:   uv run mlflow ui --port {UI_PORT} --backend-store-uri {tracking_uri}")
    if compare:
        host = tracking_uri.rstrip("/") if served else f"http://127.0.0.1:{UI_PORT}"
        lines.append(f"Compare:  {host}{compare}")
    return "\n".join(lines)


def selected_lines(record: StudyRecord) -> list[str]:
    """Which method to use, and the command that names animals with it; nothing where none finished."""
    method = selected_method(record)
    if method is None:
        return []
    figure = method.figures.get("val/top1")
    how = f", {100 * figure:.1f} % of the validation photos" if figure is not None else ""
    return [f"Selected: {method.name}{how}", f"Next:     {next_command(record)}", ""]


def next_command(record: StudyRecord) -> str:
    """The command that names animals in new photos with the selected method."""
    storage = str(record.study.get("config", {}).get("storage", "runs")).rstrip("/")
    return (
        f"python -m reid_ray.identify --model {storage}/{record.study['name']} "
        "--reference KNOWN_ANIMALS --query NEW_PHOTOS"
    )


def family_lines(record: StudyRecord) -> list[str]:
    """Top-1 per domain of the best method of each family, and of the selected trial's second training.

    Of trained families it is the setting with the best figure on the photos that chose the selected trial.
    """
    best: dict[str, Method] = {}
    for method in pooled_methods(record):
        if method.status == "finished":
            kept = best.setdefault(method.family, method)
            best[method.family] = max(kept, method, key=_standing)
    shown = [(family, best[family]) for family in FAMILIES if family in best]
    shown += [("selected trial again, DDP", again) for again in confirmations(record)]
    domains = [d for d in DOMAINS if any(f"{d}/top1" in method.figures for _, method in shown)]
    names = [method.name for _, method in shown]
    width = max(map(len, names), default=0)
    heads = "".join(f"{domain + ' top-1':>22}" for domain in domains)
    lines = [f"{'':<18} {'':<{width}}{heads}"]
    for family, method in shown:
        cells = "".join(f"{_cell(method.figures, domain):>22}" for domain in domains)
        lines.append(f"{family:<18} {method.name if family != method.name else '':<{width}}{cells}")
    return lines


def _standing(method: Method) -> float:
    return method.figures.get("val/top1", method.figures.get("seen/top1", 0.0))


def _cell(figures: dict[str, float], domain: str) -> str:
    if f"{domain}/top1" not in figures:
        return "-"
    low, top1, high = (100 * figures[f"{domain}/{name}"] for name in ("top1_low", "top1", "top1_high"))
    return f"{top1:.1f} %" + (f" ({low:.1f}-{high:.1f})" if low < high else " " * 12)


def summary_text(record: StudyRecord) -> str:
    """Markdown for the summary run in MLflow."""
    return "\n".join(f"- {as_text(line.strip())}" for line in best_lines(record))


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
        if verdict.corrected is not None:
            value, low, high = (100 * one for one in verdict.corrected)
            lines.append(
                f"  corrected for being the best of {verdict.among} on these very photos: {value:.1f} % "
                f"({low:.1f} to {high:.1f})"
            )
        lines += [f"  {comparison}" for comparison in verdict.comparisons]
    return lines
