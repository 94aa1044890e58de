"""Nothing that nobody asked to share is in what a study writes, MLflow included."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image, TiffImagePlugin
from small_study import run, study_of

from reid_ray.config.base import load
from reid_ray.config.tune import Study
from reid_ray.on_ray.cluster.session import Cluster

pytestmark = pytest.mark.ray

FOREIGN = ("latitude", "longitude", "photographer", "comment", "location", "key", "root", "content")
SECRETS = {name: f"hidden{place}of{name}" for place, name in enumerate(FOREIGN)}
IN_EXIF, IN_A_NAME, IN_THE_ROOT, IN_A_PASSWORD = "hiddenInExif", "hiddenInName", "hiddenInRoot", "hunter2"
_GPS, _ARTIST, _COMMENT = 0x8825, 0x013B, 0x9286


def collection(root: Path) -> None:
    """Three animals, four photos each, with what cameras and people write beside them."""
    rng = np.random.default_rng(0)
    rows = []
    root.mkdir(parents=True)
    for animal in range(3):
        coat = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for photo in range(4):
            image = Image.fromarray(coat).resize((96, 96), Image.Resampling.BICUBIC)
            exif = image.getexif()
            exif[_ARTIST] = IN_EXIF
            exif.get_ifd(0x8769)[_COMMENT] = IN_EXIF.encode()
            exif.get_ifd(_GPS)[1] = IN_EXIF
            exif.get_ifd(_GPS)[2] = TiffImagePlugin.IFDRational(12345, 7)
            name = f"{animal}-{photo}.jpg"
            image.save(root / name, exif=exif, comment=IN_EXIF.encode(), quality=95 - photo)
            rows.append({"image_id": name, "identity": f"animal{animal}", "path": name} | SECRETS)
    pd.DataFrame(rows).to_csv(root / "metadata.csv", index=False)
    (root / f"{IN_A_NAME}.txt").write_text("passwords")
    (root / f"{IN_A_NAME}.jpg").write_bytes(b"no row names this one")


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of every file, of tables and archives as they are when they are unpacked."""
    for path in sorted(folder.rglob("*")):
        yield str(path), str(path.relative_to(folder)).encode()
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path), data
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield str(path), repr([table.schema.metadata, table.to_pylist()]).encode()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield f"{path}/{name}", archive.read(name)


def study_in(folder: Path, root: str, **data: Any) -> Study:
    table = {"source": "table", "name": "rare", "root": root}
    raw = study_of(
        folder,
        data={"datasets": [table], "images": {"short_px": 64}} | data,
        grid=None,
        baselines={"matching": [{"name": "SIFT"}], "random_init": False},
        fusion=[],
    ).model_dump_json()
    (folder / "s.yaml").write_text(raw)
    return load(Study, folder / "s.yaml")


def test_no_foreign_cell_exif_field_or_name_is_in_what_a_study_writes(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection(tmp_path / IN_THE_ROOT)
    written = tmp_path / "written"
    written.mkdir()
    monkeypatch.setenv("PHOTOS_OF", str(tmp_path / IN_THE_ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", IN_A_PASSWORD)
    outcome, told = run(study_in(written, "${PHOTOS_OF}"))
    assert [method.result.status for method in outcome.record.methods] == ["finished"] * 2
    secrets = [*SECRETS.values(), IN_EXIF, IN_A_NAME, IN_A_PASSWORD, IN_THE_ROOT]
    (written / "s.yaml").unlink()
    found = {
        (secret, where)
        for where, data in texts(written)
        for secret in secrets
        if secret.encode() in data or secret.encode("utf-16-le") in data
    }
    assert not found
    assert not [secret for secret in secrets if secret in told]
    # The search finds what is there: names of animals, in the table and in MLflow's copy of it.
    assert sum(path.endswith("rows.parquet") and b"animal2" in data for path, data in texts(written)) >= 2


def test_what_is_asked_for_is_shared(running_ray: Cluster, tmp_path: Path) -> None:
    collection(tmp_path / "photos")
    run(study_in(tmp_path, str(tmp_path / "photos"), share=["location", "latitude"]))
    rows = pd.read_parquet(tmp_path / "runs" / "small" / "rows.parquet")
    assert set(rows["latitude"]) == {SECRETS["latitude"]}
    assert set(rows["location"]) == {SECRETS["location"]}
    assert "longitude" not in rows
