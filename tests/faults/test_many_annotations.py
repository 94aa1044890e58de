"""Very many annotations in one file are read in seconds, with little more memory than their rows take."""

import json
import os
import resource
import sys
from pathlib import Path

import psutil
import pytest
from faulty import Record, forked

from reid_ray.datasets.listed import parse_json
from reid_ray.datasets.megadetector import read_boxes

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from targets import loaded

MANY = int(os.environ.get("FAULT_ANNOTATIONS", "30000"))
"""A million takes half a minute for COCO and ten seconds for detections."""
EACH_BYTES = 2500
"""Of address space, the file's own bytes and what is parsed of it included."""
BESIDE = 512 << 20


def annotations() -> bytes:
    """Two in each photo, of many animals."""
    photos = [{"id": i, "file_name": f"a/{i}.jpg", "datetime": "2020-01-01"} for i in range(MANY // 2)]
    boxes = [
        {"id": i, "image_id": i // 2, "category_id": 1, "bbox": [0, 0, 9, 9], "name": f"leo{i % 999}"}
        for i in range(MANY)
    ]
    lion = [{"id": 1, "name": "lion"}]
    return json.dumps({"images": photos, "annotations": boxes, "categories": lion}).encode()


def detections() -> bytes:
    two = [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 1]}] * 2
    photos = [{"file": f"a/{i}.jpg", "detections": two} for i in range(MANY // 2)]
    return json.dumps({"images": photos, "detection_categories": {"1": "animal"}}).encode()


def rows_of_coco(data: bytes) -> int:
    found = loaded(data, {"source": "coco", "annotations": "a.json"})
    return len(found.rows) + len(found.quarantine)


def boxes_of(data: bytes) -> int:
    found = read_boxes(parse_json(data, "md.json"), "md.json", min_confidence=0.2)
    return sum(map(len, found.values()))


@pytest.mark.parametrize(("make", "read"), [(annotations, rows_of_coco), (detections, boxes_of)])
def test_many_annotations_are_read_whole_within_bounds(make, read, record: Record) -> None:
    data = make()

    def limited() -> None:
        most = psutil.Process().memory_info().vms + BESIDE + EACH_BYTES * MANY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        assert read(data) == MANY

    with forked(limited) as child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    record("very many annotations", f"{MANY} in one file, in bounded memory", tried=1, survived=1)
