"""Hand a trained backbone on as a timm folder that others load without this package.

In: a finished trial's checkpoint. Out: a folder with weights, config and model card.
"""

import tempfile
from pathlib import Path

import timm
import yaml
from timm.models import save_for_hf

from reid_ray.config.training import Trial
from reid_ray.embedding import checkpoint
from reid_ray.embedding.backbones import Backbone, build, input_options
from reid_ray.embedding.model import Encoder
from reid_ray.runs import files
from reid_ray.runs.methods import Result

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_SHOWN = ("top1", "top1_low", "top1_high", "top5", "balanced_top1", "mAP", "queries")


def export(to: Path, *, trial: Trial, weights: str, trained: Path, result: Result, data: list[str]) -> None:
    """Write the model below `to`, replacing one that is there.

    `timm.create_model("local-dir:" + to, pretrained=True, num_classes=0)` then gives the same
    features.

    Args:
        weights: what the training started from, as `backbones.resolve_weights` decided.
        trained: the trial's checkpoint.
        result: its figures, for the model card.
        data: a sentence on each collection it was trained on.

    Raises:
        StorageError: no whole checkpoint there.
    """
    backbone = build(trial.backbone, weights=weights, input_px=trial.input_px)
    checkpoint.load_encoder(trained, Encoder(backbone))
    for name, content in _timm_files(backbone, trial).items():
        files.write_bytes(to / name, content)
    files.write_bytes(to / CARD, model_card(trial, backbone, result, data).encode())


def _timm_files(backbone: Backbone, trial: Trial) -> dict[str, bytes]:
    """Weights and config, which says how photos are prepared: resized to a square, no crop."""
    px = trial.input_px
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(
            backbone.module,
            folder,
            model_args=input_options(trial.backbone, px),
            safe_serialization=True,
            data_config={
                "input_size": (3, px, px),
                "mean": backbone.mean,
                "std": backbone.std,
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                "crop_mode": "squash",
            },
        )
        return {name: (Path(folder) / name).read_bytes() for name in (WEIGHTS, CONFIG)}


def model_card(trial: Trial, backbone: Backbone, result: Result, data: list[str]) -> str:
    """What it is, what it was trained on, how well it does, how to load it, whose licences apply."""
    front = {
        "library_name": "timm",
        "license": "other",
        "tags": ["timm", "image-feature-extraction", "animal-re-identification"],
    }
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
            f"# {result.method}",
            f"Embeds photos of single animals as vectors of {backbone.dims} numbers; the more alike "
            "two photos' vectors are (cosine), the likelier it is one animal. Trained with reid_ray "
            f"(timm {timm.__version__}).",
            "## Data",
            *[f"- {sentence}" for sentence in data],
            "## Figures",
            "Each query photo is searched among the reference photos of its collection. Shares "
            "in per cent, with the 95 % interval of top-1.",
            *_figures(result),
            "## Loading",
            _LOADING.format(px=trial.input_px),
            "## Training",
            f"Started from: {result.note or backbone.weights}.",
            f"```json\n{trial.model_dump_json(indent=1)}\n```",
            "## Licence",
            "None is given here. The licences of the weights it started from and of the photos "
            "it was trained on apply; look at both before you hand it on.",
        ]
    )


def _figures(result: Result) -> list[str]:
    """A Markdown table, one line per section (`seen`, `unseen`, `test/<collection>`)."""
    sections = sorted({name.rpartition("/")[0] for name in result.metrics if name.endswith("/queries")})
    lines = ["| photos | " + " | ".join(_SHOWN) + " |", "|---" * (len(_SHOWN) + 1) + "|"]
    for section in sections:
        values = [result.metrics.get(f"{section}/{name}") for name in _SHOWN]
        shown = [
            "" if value is None else f"{value:.0f}" if name == "queries" else f"{100 * value:.1f}"
            for name, value in zip(_SHOWN, values, strict=True)
        ]
        lines.append(f"| {section} | " + " | ".join(shown) + " |")
    return lines


_LOADING = """```python
import timm, torch
from PIL import Image

model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True, num_classes=0).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))  # {px} x {px}
with torch.inference_mode():
    features = model(prepare(Image.open("animal.jpg").convert("RGB"))[None])
vector = torch.nn.functional.normalize(features)
```"""
