"""Name animals with a study's selected method; MLflow runs this file, which needs `reid_ray` installed.

In: a column of photo files, and the folder of known animals as parameter `reference`. Out: candidates.
"""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import set_model


class NamesAnimals(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`load_model("models:/<study>@selected").predict(photos, params={"reference": "known"})`."""

    # Hints of `predict` would be read as the one kind of input that is accepted; this spares their warning.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        from reid_ray.methods.saved import load

        self.saved = load(Path(context.artifacts["selected"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """A table with the candidates of each photo, best first; see `reid_ray.methods.serving`."""
        from reid_ray.methods.serving import name_photos

        given = params or {}
        if not given.get("reference"):
            raise ValueError(
                'no known animals; give params={"reference": "folder with one folder per animal"}'
            )
        photos = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        return name_photos(
            self.saved,
            Path(given["reference"]).expanduser(),
            [Path(photo) for photo in photos],
            most=int(given.get("candidates", 5)),
        )


set_model(NamesAnimals())
