"""Embed photos of animals with a timm folder; MLflow runs this file, so it needs nothing of this package.

In: a list or column of photo files, or uint8 pixels [n, h, w, 3]. Out: vectors [n, d] of length 1.
"""

from collections.abc import Sequence
from typing import Any

import mlflow.pyfunc
import numpy as np
import torch
from mlflow.models import set_model
from PIL import Image, ImageOps

_BATCH = 32


class Embedder(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`mlflow.pyfunc.load_model("models:/<study>@winner").predict([...])`."""

    # Hints of `predict` would be read as the one kind of input that is accepted; this spares their warning.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        import timm

        folder = context.artifacts["timm"]
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.eval().to(self.device)
        self.prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Vectors float32 [n, d], in the order of the photos.

        The more alike two vectors are (their dot product), the likelier it is one animal.
        """
        pictures, vectors = _pictures(model_input), []
        for start in range(0, len(pictures), _BATCH):
            batch = [self.prepare(_rgb(each)) for each in pictures[start : start + _BATCH]]
            with torch.inference_mode():
                features = self.model(torch.stack(batch).to(self.device))
            vectors.append(torch.nn.functional.normalize(features.float()).cpu().numpy())
        return np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)


def _pictures(model_input: Any) -> Sequence[Any]:
    """A sequence with one photo each, from what MLflow hands over."""
    if isinstance(model_input, str):
        return [model_input]
    if hasattr(model_input, "columns"):
        if len(model_input.columns) != 1:
            raise ValueError(f"{len(model_input.columns)} columns; expected one, of photo files")
        return list(model_input.iloc[:, 0])
    if isinstance(model_input, np.ndarray) and model_input.ndim == 3:
        return [model_input]
    return list(model_input)


def _rgb(photo: Any) -> Image.Image:
    """An upright RGB picture from a file or from pixels."""
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[2] != 3:
            raise ValueError(f"pixels of shape {photo.shape}; expected [h, w, 3]")
        if photo.dtype != np.uint8 and (photo.min() < 0 or photo.max() > 255 or photo.max() <= 1):
            raise ValueError(f"pixels of type {photo.dtype} beyond 0..255; give uint8")
        return Image.fromarray(photo.astype(np.uint8))
    with Image.open(photo) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{photo}: deep grey picture ({image.mode}); save it with 8 bits")
        return ImageOps.exif_transpose(image).convert("RGB")


set_model(Embedder())
