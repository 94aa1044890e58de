"""A photo whose animal is small is asked again with a region drawn in `review`, by the real `identify`."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from animals import folder_per_animal
from PIL import Image

from reid_ray.config.datasets import SyntheticDataset

pytestmark = pytest.mark.ray
SIDE, PLACE = 160, (300, 200)
# Photos keep their own size, so that the animal is as large in the new photo as in the known ones.
SETTINGS = ["images.short_px=480", "images.enlarge=false", "leave_one_out_queries=20"]


def wait_for(ready: Callable[[], Any]) -> Any:
    for _ in range(1200):
        if found := ready():
            return found
        time.sleep(0.5)
    raise TimeoutError("the server did not answer")


def test_a_region_drawn_by_hand_is_what_the_real_identify_looks_at(tmp_path: Path) -> None:
    synthetic = SyntheticDataset(
        source="synthetic", name="leopard", species="leopard", identities=5, photos=5, size_px=SIDE, seed=3
    )
    known = folder_per_animal(tmp_path / "known", synthetic)
    # The new photo: noise, rich in keypoints, and a known animal's photo small in it.
    one, other = (sorted(known.iterdir())[at] for at in (1, 3))
    shown, lure = sorted(one.iterdir())[0], sorted(other.iterdir())[0]
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for photo, (x, y) in ((shown, PLACE), (lure, (20, 20))):
        pixels[y : y + SIDE, x : x + SIDE] = np.asarray(Image.open(photo).convert("RGB"))[:SIDE, :SIDE]
        photo.unlink()  # what is asked is not among the references
    new = tmp_path / "new.png"
    Image.fromarray(pixels).save(new)

    command = [sys.executable, "-m", "reid_ray.review", "--reference", str(known), "--local"]
    command += ["rootsift", "--out", str(tmp_path / "review"), *(w for s in SETTINGS for w in ("--set", s))]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        (address,) = re.findall(r"http\S+", server.stdout.readline())
        at = address.split("/?")[0]
        with requests.Session() as web:
            assert web.get(address, timeout=60).ok
            web.headers["Origin"] = at
            sent = web.post(
                f"{at}/photos", timeout=60, files=[("photos", (new.name, new.read_bytes(), "image/png"))]
            )
            assert sent.status_code == 200, sent.text
            name = sent.url.split("/batches/")[1].split("/")[0]
            folder = tmp_path / "review" / name
            wait_for(lambda: (folder / "answers" / "cards.json").exists())
            (first,) = json.loads((folder / "answers" / "cards.json").read_text())
            percent = {
                "left": 100 * PLACE[0] / 640,
                "top": 100 * PLACE[1] / 480,
                "right": 100 * (PLACE[0] + SIDE) / 640,
                "bottom": 100 * (PLACE[1] + SIDE) / 480,
            }
            asked = web.post(
                f"{at}/batches/{name}/region",
                timeout=60,
                params={"path": first["path"]},
                data={side: f"{edge:.4f}" for side, edge in percent.items()},
            )
            assert asked.status_code == 200, asked.text
            page = wait_for(
                lambda: (
                    (text := web.get(f"{at}/batches/{name}/", timeout=60).text)
                    and "Answered with the region you drew" in text
                    and text
                )
            )
    finally:
        server.terminate()
        server.wait(60)
    (cards,) = folder.glob("regions/*/answers/cards.json")
    (again,) = json.loads(cards.read_text())
    # Looked at whole, the lure's matches count as well; within the region there is one animal.
    best = again["candidates"][0]
    assert best["identity"] == one.name
    before = {c["identity"]: c for c in first["candidates"]}
    assert other.name in before
    assert before[other.name]["probability"] > next(
        (c["probability"] for c in again["candidates"] if c["identity"] == other.name), 0.0
    )
    assert one.name in page
