"""Register a study's selected method in MLflow as a model that names animals; no pickle is involved.

In: the saved method. Out: a version of the registered model named like the study, called `selected`.
"""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

ALIAS = "selected"
_CODE = Path(__file__).with_name("served_model.py")
_NEEDS = ("reid-ray",)
_DIGEST = "reid_ray.digest"
_LOADING = """

```python
model = mlflow.pyfunc.load_model("models:/{name}@selected")  # needs reid_ray installed
names = model.predict(["photo.jpg"], params={{"reference": "known"}})  # known/<animal>/*.jpg
```"""
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string")]),  # a list will do, or a table of one column
    outputs=Schema(
        [
            ColSpec("string", "photo"),
            ColSpec("long", "rank"),
            ColSpec("string", "identity"),
            ColSpec("double", "probability"),
            ColSpec("double", "unknown_probability"),
            ColSpec("string", "reference"),
        ]
    ),
    params=ParamSchema([ParamSpec("reference", "string", ""), ParamSpec("candidates", "long", 5)]),
)

EXAMPLE = (["photo.jpg"], {"reference": "known", "candidates": 5})


def register_selected(client: MlflowClient, run: Any, folder: Path, name: str, about: str) -> str:
    """Register `folder` as the newest version of `name`, once; returns its number.

    `mlflow.pyfunc.load_model("models:/<name>@selected")` then gives it.

    Args:
        run: of the selected method, to which the model belongs.
        about: Markdown on what it is and how it did.
    """
    description = about + _LOADING.format(name=name)
    digest = _digest(folder)
    found = client.search_model_versions(f"name = '{name}'")
    same = [v for v in found if v.tags.get(_DIGEST) == digest and v.run_id == run.info.run_id]
    if same:
        number = str(same[0].version)
    else:
        model = _log(client, run, folder)
        _ensure(client, name, description)
        made = client.create_model_version(
            name,
            _source(model),
            run.info.run_id,
            model_id=model.model_id,
            tags={_DIGEST: digest},
            description=description,
        )
        number = str(made.version)
    client.set_registered_model_alias(name, ALIAS, number)
    return number


def save(folder: Path, to: Path) -> None:
    """Write a saved method as an MLflow model: its code as text, its weights as safetensors."""
    mlflow.pyfunc.save_model(
        path=str(to),
        python_model=str(_CODE),
        artifacts={"selected": str(folder)},
        signature=SIGNATURE,
        input_example=EXAMPLE,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _NEEDS],
    )


def _source(model: Any) -> str:
    """Where a version's files are: a server wants the model's name, a local store their folder.

    (A local store would look the name up in whatever store the process uses otherwise.)
    """
    local = model.artifact_location.startswith("file:")
    return str(model.artifact_location if local else f"models:/{model.model_id}")


def _log(client: MlflowClient, run: Any, folder: Path) -> Any:
    """The model among its experiment's models, as made by the run."""
    model = client.create_logged_model(
        run.info.experiment_id,
        name="selected",
        source_run_id=run.info.run_id,
        params=dict(run.data.params),
        model_type="animal re-identification",
    )
    with tempfile.TemporaryDirectory() as temporary:
        save(folder, Path(temporary) / "model")
        client.log_model_artifacts(model.model_id, str(Path(temporary) / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return model


def _ensure(client: MlflowClient, name: str, description: str) -> None:
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_registered_model(name, description=description)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
