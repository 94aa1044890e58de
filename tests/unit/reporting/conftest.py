"""A made-up study, complete enough for a whole report: two seen datasets, one unseen."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from searched import answer_queries

from reid_ray.config.datasets import Images
from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.encoding import Encoding
from reid_ray.evaluation.metrics import chance_metrics, summarise
from reid_ray.evaluation.ranking import rank_block
from reid_ray.methods.embedding import ANY, Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.saved import SavedMethod, save
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.runs import files
from reid_ray.runs.methods import Result, method_key
from reid_ray.runs.study import MethodRecord, StudyFolder, StudyRecord

DATASETS = (
    ("ZebraSynthetic", "zebra", "seen", 10),
    ("LeopardSynthetic", "leopard", "seen", 8),
    ("SealSynthetic", "ringed_seal", "unseen", 9),
)
HOSTILE = ("<script>alert(1)</script>", r"$\frac{a$", "=cmd", "a\u202eb", "x\x00y", "]]>&amp;", "n" * 200)
BACKBONES = ("swin_tiny_patch4_window7_224", "efficientnet_b0")


def make_rows(photos: int = 14) -> pd.DataFrame:
    """Photos 1, 5, 9 of each animal are queries; photo 3 validates."""
    rows = []
    for dataset, group, domain, animals in DATASETS:
        for animal in range(animals):
            for photo in range(photos):
                image_id = f"{animal:02d}_{photo}"
                split = "query" if photo % 4 == 1 else "reference"
                rows.append(
                    {
                        "key": f"{dataset}/{image_id}",
                        "image_id": image_id,
                        "identity": f"{group.split('_')[-1]}-{animal:02d}",
                        "path": f"{animal:02d}/{photo}.jpg",
                        "root": "/data",
                        "dataset": dataset,
                        "group": group,
                        "domain": domain,
                        "split": split,
                        "validation": photo == 3 and domain == "seen",
                    }
                )
    lone = rows[0] | {"key": "ZebraSynthetic/lone", "image_id": "lone", "identity": "zebra-99"}
    unknown_one = rows[0] | {
        "key": "ZebraSynthetic/x",
        "image_id": "x",
        "identity": "unknown",
        "split": "none",
    }
    return pd.DataFrame([*rows, lone, unknown_one])


def make_predictions(rows: pd.DataFrame, skill: float, seed: int) -> pd.DataFrame:
    """Scores are noise plus `skill` for the right animal."""
    rng = np.random.default_rng(seed)

    def search(queries, references, query_labels, reference_labels):
        scores = rng.standard_normal((len(queries), len(references)))
        scores += 0.8 * skill * (query_labels[:, None] == reference_labels[None, :])
        return rank_block(scores / 6, query_labels, reference_labels, k=10)

    return answer_queries(rows, search)


def make_history(skill: float, epochs: int = 12) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": 6 * np.exp(-epoch * skill / 12) + 0.4,
            "lr": 0.01,
            "val/top1": min(0.95, 0.1 + skill * (1 - np.exp(-epoch / 4)) / 4),
            "seconds": 1.5,
        }
        for epoch in range(1, epochs + 1)
    ]


def trial_result(backbone: str, family: str, lr: float, **loss) -> Result:
    text = " ".join(f"{name[0]}={value:g}" for name, value in loss.items() if name != "mining")
    name = f"{backbone} {family} {loss.get('mining', '')} {text} lr={lr:g}".replace("  ", " ")
    params = {"backbone": backbone, "loss": family.lower(), "lr": lr, **loss}
    return Result(
        method_key(name),
        name,
        "trial",
        family,
        "ZebraSynthetic+LeopardSynthetic",
        params=params,
        seconds=38.4 + 7 * len(text),
        note="weights: random",
    )


def trials() -> list[tuple[Result, float]]:
    """(result, skill); a skill of nothing: it did not finish."""
    found = []
    for b, backbone in enumerate(BACKBONES):
        for i, (margin, scale) in enumerate([(0.25, 32.0), (0.5, 64.0)]):
            for lr in (0.01, 0.001):
                skill = 1.0 + 0.7 * i + 0.3 * b - 0.4 * (lr == 0.001)
                found.append((trial_result(backbone, "ArcFace", lr, margin=margin, scale=scale), skill))
        for i, mining in enumerate(["all", "semi", "hard"]):
            skill = 0.9 + 0.4 * i - 0.1 * b
            found.append((trial_result(backbone, "Triplet", 0.01, mining=mining, margin=0.2), skill))
    return found


def baseline(name: str, family: str, seconds: float, note: str = "", **params) -> Result:
    scope = "ZebraSynthetic+LeopardSynthetic+SealSynthetic"
    return Result(
        method_key(name), name, "baseline", family, scope, params=params, seconds=seconds, note=note
    )


def with_metrics(result: Result, metrics: dict[str, float], **changes) -> Result:
    return Result(**{**result.__dict__, "metrics": metrics, **changes})


def make_methods(rows: pd.DataFrame) -> tuple[list[MethodRecord], str]:
    """Methods in planned order, and the selected trial's key."""
    chance = baseline("Guessing", "chance", 0.0)
    methods = [MethodRecord(with_metrics(chance, chance_metrics(rows)), None, [])]
    for result, skill in [
        (baseline("SIFT", "local features", 21.7, threshold=0.6), 1.9),
        (baseline("Untrained swin_tiny", "untrained", 9.2, "weights: random"), 0.35),
    ]:
        table = make_predictions(rows, skill, len(methods))
        methods.append(MethodRecord(with_metrics(result, summarise(table)), table, []))
    best = ("", -1.0)
    for number, (result, skill) in enumerate(trials()):
        if number == 3:
            note = "loss became NaN in epoch 4"
            ended = with_metrics(result, {}, status="diverged", note=note)
            methods.append(MethodRecord(ended, None, make_history(skill)[:3]))
        elif number == 9:
            note = "out of memory: lower batch_size or raise accumulation"
            ended = with_metrics(result, {}, status="failed", note=note)
            methods.append(MethodRecord(ended, None, []))
        else:
            table, history = make_predictions(rows, skill, 40 + number), make_history(skill)
            metrics = summarise(table) | {"val/top1": history[-1]["val/top1"]}
            methods.append(MethodRecord(with_metrics(result, metrics), table, history))
            best = max(best, (result.key, metrics["val/top1"]), key=lambda pair: pair[1])
    selected_trial = next(m.result for m in methods if m.result.key == best[0])
    table = make_predictions(rows, 2.0, 99)
    again = Result(
        method_key("again"),
        selected_trial.method,
        "confirmation",
        selected_trial.family,
        selected_trial.scope,
        params={**selected_trial.params, "workers": 2},
        metrics=summarise(table) | {"val/top1": 0.5},
        seconds=88.0,
        note="trained by 2 workers under DDP",
    )
    return [*methods, MethodRecord(again, table, make_history(2.0))], best[0]


def make_record(folder: Path) -> StudyRecord:
    rows = make_rows()
    methods, selected_trial = make_methods(rows)
    quarantine = pd.DataFrame(
        {
            "dataset": ["ZebraSynthetic", "SealSynthetic"],
            "image_id": ["broken", "huge"],
            "path": ["03/broken.jpg", "07/huge.png"],
            "reason": ["truncated file", "240000000 pixels, more than images.max_pixels"],
        }
    )
    study = {
        "name": "quickstart",
        "config": {
            "name": "quickstart",
            "scope": "joint",
            "seed": 0,
            "data": {
                "split": {"kind": "closed_set", "seed": 666, "validation_share": 0.2},
                "unseen": ["ringed_seal"],
            },
            "training": {"epochs": 12, "batch_size": 32, "weights": "auto"},
        },
        "provenance": {
            "git": "572a6ee",
            "versions": {"python": "3.11.9", "torch": "2.15.0", "ray": "2.60.0"},
            "seeds": {"split": 666, "training": 0},
            "digests": {"ZebraSynthetic": "9f2c41d0aa17"},
        },
        "methods": [m.result.key for m in methods] + ["0123456789abcdef"],
        "selected_trial": selected_trial,
        "started_at": 1_790_000_000.0,
        "seconds": 512.0,
        "warnings": ["Pretrained weights could not be had, so backbones began at random."],
    }
    return StudyRecord(study, rows, quarantine, methods, folder / "gallery")


def make_images(rows: pd.DataFrame, size: int = 160) -> PreparedImages:
    """A coat of smooth noise per animal, shifted and lit differently in each photo."""
    import cv2

    def photo(row: int, animal: str) -> np.ndarray:
        seed = sum(ord(letter) * 31**i for i, letter in enumerate(animal)) % 2**32
        coat = np.random.default_rng(seed).integers(0, 256, (34, 44, 3), dtype=np.uint8)
        large = cv2.resize(coat, (size * 2, size * 3 // 2), interpolation=cv2.INTER_CUBIC)
        rng = np.random.default_rng(row)
        y, x = rng.integers(0, size // 3, 2)
        view = large[y : y + size, x : x + size * 3 // 2]
        return np.clip(view * rng.uniform(0.6, 1) + rng.normal(0, 4, view.shape), 0, 255).astype(np.uint8)

    return PreparedImages.pack(photo(i, animal) for i, animal in enumerate(rows["identity"]))


@pytest.fixture(scope="session")
def record(tmp_path_factory) -> StudyRecord:
    return make_record(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def hostile_names() -> list[str]:
    return list(HOSTILE)


@pytest.fixture(scope="session")
def hostile_study(record) -> StudyRecord:
    """Every method, backbone and animal is named to hurt."""
    methods = []
    for number, one in enumerate(record.methods):
        name = HOSTILE[number % len(HOSTILE)] + str(number)
        params = {k: HOSTILE[0] if k == "backbone" else v for k, v in one.result.params.items()}
        table = one.predictions
        if table is not None:
            ends = table["identity"].str[-2:]
            table = table.assign(
                identity=[HOSTILE[int(end) % len(HOSTILE)] + end for end in ends],
                dataset=table["dataset"].replace({"ZebraSynthetic": HOSTILE[1]}),
            )
        result = replace(one.result, method=name, params=params)
        methods.append(replace(one, result=result, predictions=table))
    return replace(record, methods=methods)


@pytest.fixture(scope="session")
def hostile_record(hostile_study, hostile_names) -> StudyRecord:
    """Study, groups, collections, settings and photos too."""
    bad = hostile_study
    rows = bad.rows.assign(
        group=hostile_names[0], dataset=bad.rows["dataset"].replace("ZebraSynthetic", hostile_names[1])
    )
    quarantine = pd.DataFrame(
        {"dataset": hostile_names, "image_id": hostile_names, "path": hostile_names, "reason": hostile_names}
    )
    study = {
        **bad.study,
        "name": hostile_names[0],
        "warnings": hostile_names,
        "provenance": {hostile_names[0]: {hostile_names[3]: hostile_names[0]}},
        "config": {"x": hostile_names[0]},
    }
    return replace(bad, rows=rows, quarantine=quarantine, study=study)


@pytest.fixture(scope="session")
def images(record) -> PreparedImages:
    return make_images(record.rows)


@dataclass(frozen=True)
class Left:
    """What a study leaves: its folder, its report, its store."""

    folder: StudyFolder
    report: Path
    uri: str

    def report_bytes(self) -> dict[str, bytes]:
        return bytes_below(self.report)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_study(record: StudyRecord, images: PreparedImages, folder: StudyFolder) -> None:
    files.write_json(folder.study_path, record.study)
    files.write_table(folder.rows_path, record.rows)
    files.write_table(folder.quarantine_path, record.quarantine)
    for method in record.methods:
        of_method = folder.method(method.result.key)
        for epoch in method.history:
            of_method.append_history(epoch)
        of_method.finish(method.result, method.predictions)
    make_gallery(record.rows, images, panels(record), folder.gallery_path, each=1)


@pytest.fixture(scope="session")
def written_to(images):
    """Write a record into a study's folder."""
    return lambda record, folder: write_study(record, images, folder)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory):
    """Make MLflow's database at a path. MLflow takes seconds to lay one out, so it does that once."""
    from mlflow import MlflowClient

    first = tmp_path_factory.mktemp("mlflow") / "first.db"
    MlflowClient(f"sqlite:///{first}").search_experiments()

    def make(path: Path) -> str:
        with closing(sqlite3.connect(first)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def leave(record, images, new_database):
    """Write the made-up study with so many of its trials, the first of them chosen, and copy it."""
    from reid_ray.reporting.mlflow_store import Store

    def leave(root: Path, *, trials: int, uri: str = "", selected: Path | None = None) -> Left:
        some = [m for m in record.methods if m.result.kind == "trial"][:trials]
        methods = [m for m in record.methods if m.result.kind != "trial"] + some
        study = record.study | {"selected_trial": some[0].result.key, "selected": some[0].result.key}
        folder = StudyFolder(root / "runs" / "quickstart")
        write_study(replace(record, methods=methods, study=study), images, folder)
        if selected:
            shutil.copytree(selected, folder.selected_path)
        report = write_report(folder.load(), root / "report").parent
        uri = uri or new_database(root / "m.db")
        store = Store.open(uri, study="quickstart", artifacts=root / "artifacts")
        for method in methods:
            store.sync_method(folder.method(method.result.key))
        store.sync_summary(folder, report=report, description="- SIFT is best")
        return Left(folder, report, uri)

    return leave


@pytest.fixture(scope="session")
def selected(tmp_path_factory) -> Path:
    """A saved fusion of a tiny network and local features."""
    folder = tmp_path_factory.mktemp("selected") / "selected"
    network = Embedding("tiny", "k", {ANY: Encoding("test_resnet", "random", 64)})
    local = LocalFeatures(Matching(thresholds=(0.6,)))
    fused = Fusing(Fusion(parts=("SIFT", "tiny")), (local, network))
    save(SavedMethod(fused, Images(short_px=96)), folder)
    return folder
