"""What surely does not fit is refused before it starts; what may not fit is told."""

from pathlib import Path

import pytest

from reid_ray.config.training import ArcFace, Trial
from reid_ray.errors import ResourceError
from reid_ray.studies.capacity import KEPT_FREE, Room, check_trainings, look, refuse_full_disk

GIB = 2**30
ROOMY = Room(disk=900 * GIB, memory=64 * GIB, available=60 * GIB, shared=8 * GIB)
SWIN_BYTES = 86_743_224 * 4
"""Parameters of swin_base_patch4_window7_224 without its head, as timm counts them, in fp32."""


def trial(backbone: str = "test_resnet", batch_size: int = 16) -> Trial:
    loss = ArcFace(name="arcface", margin_rad=0.25, scale=16.0)
    return Trial(backbone=backbone, loss=loss, lr=0.1, epochs=2, batch_size=batch_size)


def check(room: Room, *trials: Trial, at_once: int = 1, **changes: bool) -> list[str]:
    settings = {"on_gpu": False, "on_disk": True} | changes
    return check_trainings(room, trials, workers=0, at_once=at_once, **settings)


def test_this_machine_has_room_for_a_tiny_network(tmp_path: Path) -> None:
    room = look(tmp_path / "not" / "there" / "yet")
    assert 0 < room.available <= room.memory
    assert room.disk > 0
    assert check(ROOMY, trial()) == []


def test_photos_that_do_not_fit_on_the_disk_are_refused_and_those_that_are_there_do_not_count() -> None:
    photos = {"photos": 1000, "short_px": 256}
    needed = 1000 * 256 * 256 * 3
    small = Room(disk=needed + KEPT_FREE - 1, memory=GIB, available=GIB, shared=GIB)
    with pytest.raises(ResourceError, match=r"runs: 387 MiB free, and 1000 photos of 256 px .* 388 MiB"):
        refuse_full_disk(small, Path("runs"), kept=0, **photos)
    refuse_full_disk(small, Path("runs"), kept=1, **photos)


@pytest.mark.large
def test_checkpoints_that_do_not_fit_are_refused_where_they_are_kept_on_this_disk() -> None:
    swin = trial("swin_base_patch4_window7_224")
    whole = 3 * SWIN_BYTES
    room = Room(disk=2 * whole + KEPT_FREE - 1, memory=64 * GIB, available=60 * GIB, shared=GIB)
    with pytest.raises(ResourceError, match=r"checkpoints of 2 trainings need 2\.1 GiB"):
        check(room, swin, swin)
    assert check(room, swin) == []
    assert check(room, swin, swin, on_disk=False) == []


def test_a_network_larger_than_the_memory_is_refused_and_a_tight_one_is_told() -> None:
    tiny = Room(disk=900 * GIB, memory=2**20, available=2**20, shared=GIB)
    with pytest.raises(ResourceError, match="weights, gradients and momentum"):
        check(tiny, trial())
    assert check(tiny, trial(), on_gpu=True) == []
    tight = Room(disk=900 * GIB, memory=8 * GIB, available=2**25, shared=GIB)
    (note,) = check(tight, trial(batch_size=256), at_once=4)
    assert note.startswith("test_resnet: 4 processes of about")
    assert "lower scaling.max_concurrent" in note


def test_little_shared_memory_is_told() -> None:
    docker = Room(disk=900 * GIB, memory=64 * GIB, available=60 * GIB, shared=64 * 2**20)
    (note,) = check(docker, trial())
    assert "/dev/shm has 64 MiB" in note
    assert "--shm-size" in note
