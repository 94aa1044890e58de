"""Measure training side by side with what it could be: input, waiting, Ray, memory, the card.

    python benchmarks/training.py input|wait|overhead|ray|memory|card [--data FOLDER] [--photos N]
        [--enlarge PX]

Prints ratios measured in one run, alternating, so that a busy machine is busy for all alike.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from reid_ray.config.datasets import Images
from reid_ray.config.training import ArcFace, Augment, Trial
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.embedding import checkpoint
from reid_ray.embedding.augment import TrainTransform
from reid_ray.embedding.context import Worker
from reid_ray.embedding.embed import embed, embed_shared
from reid_ray.embedding.feeding import ahead
from reid_ray.embedding.loop import TrainSet, train
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.validation import Validation
from reid_ray.runs import files

PX, SHORT_PX, BATCH, ROUNDS = 224, 256, 64, 5
THREADS = 2


def tiny(**changes: Any) -> Trial:
    """A backbone so small that feeding it is hard."""
    settings: dict[str, Any] = {
        "backbone": "test_resnet",
        "loss": ArcFace(name="arcface", margin_rad=0.25, scale=32.0),
        "lr": 0.01,
        "weights": "random",
        "input_px": PX,
        "epochs": 3,
        "batch_size": BATCH,
    }
    return Trial(**(settings | changes))


def load(paths: list[Path]) -> TrainSet:
    """Photos prepared once; made-up identities of four photos each."""
    images = PreparedImages.pack(
        read_prepared(str(path.parent), path.name, images=Images(short_px=SHORT_PX), bbox=None)[0]
        for path in paths
    )
    return TrainSet(images, np.arange(len(paths)), np.arange(len(paths)) // 4)


def enlarged(paths: list[Path], short_px: int) -> list[Path]:
    """Copies of the photos at a camera's size, in a temporary folder."""
    folder = Path(tempfile.mkdtemp())
    for path in paths:
        photo = Image.open(path).convert("RGB")
        scale = short_px / min(photo.size)
        photo.resize([round(side * scale) for side in photo.size]).save(folder / path.name, quality=90)
    return sorted(folder.iterdir())


def rate(batches: Callable[[], Iterator[Any]], photos: int) -> tuple[float, float]:
    """Photos per second of one epoch: by the clock, and of processor time (children included)."""
    started, used = time.perf_counter(), _cpu_seconds()
    for _ in batches():
        pass
    return photos / (time.perf_counter() - started), photos / (_cpu_seconds() - used)


def _cpu_seconds() -> float:
    """Of this process and its living children."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return sum(_ticks(pid) for pid in [str(os.getpid()), *children]) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: str) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# --- input --------------------------------------------------------------------------------------


class Decoded(Dataset[torch.Tensor]):
    """The usual way: open, decode and transform each photo in each epoch."""

    def __init__(self, paths: list[Path], *, prepare: bool) -> None:
        self.paths = paths
        self.transform = v2.Compose(
            [
                v2.Resize(SHORT_PX) if prepare else v2.Identity(),
                v2.RandomResizedCrop(PX, scale=(0.8, 1.0)),
                v2.RandAugment(num_ops=2, magnitude=20),
                v2.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        photo: torch.Tensor = self.transform(Image.open(self.paths[index]).convert("RGB"))
        return photo


class Prepared(Dataset[torch.Tensor]):
    """torchvision's transforms on photos that were decoded once."""

    def __init__(self, images: PreparedImages) -> None:
        self.images = images
        self.transform = v2.Compose(
            [v2.RandomResizedCrop(PX, scale=(0.8, 1.0)), v2.RandAugment(num_ops=2, magnitude=20)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        view = torch.from_numpy(self.images[index].copy()).permute(2, 0, 1)
        photo: torch.Tensor = self.transform(view)
        return photo


def measure_input(paths: list[Path]) -> None:
    """Photos per second into the model, all on two cores, from the second epoch on."""
    data = load(paths)
    cut = TrainTransform(Augment(), px=PX, seed=0)
    batches = len(paths) // BATCH

    def ours() -> Iterator[torch.Tensor]:
        def one(number: int) -> torch.Tensor:
            places = range(number * BATCH, (number + 1) * BATCH)
            return cut(data.images, list(places), epoch=1, places=places)

        return ahead(one, batches, threads=THREADS)

    def loader(dataset: Dataset[torch.Tensor]) -> Callable[[], Iterator[torch.Tensor]]:
        made = DataLoader(
            dataset, BATCH, shuffle=True, num_workers=THREADS, drop_last=True, persistent_workers=True
        )
        return lambda: iter(made)

    ways = {
        "decode, shorten to 256, crop; DataLoader": loader(Decoded(paths, prepare=True)),
        "decode, crop; DataLoader": loader(Decoded(paths, prepare=False)),
        "decoded once; DataLoader, torchvision": loader(Prepared(data.images)),
        "ours": ours,
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            found = rate(way, batches * BATCH)
            if turn:  # the first epoch starts workers and fills caches
                rates[name].append(found)
    print(f"{'photos per second, ' + str(THREADS) + ' cores':<46}    clock           processor second")
    base = [median(column) for column in zip(*next(iter(rates.values())), strict=True)]
    for name, pairs in rates.items():
        clock, used = (median(column) for column in zip(*pairs, strict=True))
        ratios = clock / base[0], used / base[1]
        print(f"{name:<46} {clock:8.0f} {ratios[0]:6.2f} x  {used:8.0f} {ratios[1]:6.2f} x")


# --- wait ---------------------------------------------------------------------------------------


def measure_wait(paths: list[Path]) -> None:
    """Share of an epoch that a tiny backbone waits for input, with and without a second core."""
    data = load(paths)
    for cpus in (1, 2):
        torch.set_num_threads(cpus)
        rows: list[dict[str, float]] = []
        train(tiny(), data, Worker(cpus=cpus), weights="random", report=rows.append)
        speed = len(paths) / median(row["seconds"] for row in rows[1:])
        wait = median(row["input_wait"] for row in rows[1:])
        print(f"{cpus} core(s): {speed:6.0f} photos/s, {100 * wait:5.1f} % of it waiting for input")


# --- overhead -----------------------------------------------------------------------------------

STORAGE = 100e6
"""Bytes a second of the storage that checkpoints are written to, as a network's."""


def _overhead(rank: int, world: int, port: int, data: TrainSet, told: Any) -> None:
    """Trainings as before and after, in turn."""
    torch.set_num_threads(1)
    _join(rank, world, port)
    for turn in range(3):
        for before in (True, False):
            found = _shares(data, Worker(rank, world), before=before)
            if rank == 0 and turn:  # the first warms up
                told.put((before, found))
    if world > 1:
        dist.destroy_process_group()


def _shares(data: TrainSet, worker: Worker, *, before: bool) -> tuple[float, float, float]:
    """Seconds of a training, and the shares of them that this rank spends in validation and with checkpoints.

    Args:
        before: rank 0 validates alone after each epoch, and training waits for each write.
    """
    write, saver = files.write_bytes, checkpoint.Saver
    spent = {"validation": 0.0, "checkpoints": 0.0}
    setting = tiny(input_px=64, epochs=8, batch_size=32, checkpoint_every_s=0)

    def slow(path: Path, *parts: bytes | memoryview, **named: Any) -> None:
        time.sleep(sum(map(len, parts)) / STORAGE)
        write(path, *parts, **named)

    def figures(encoder: Encoder) -> dict[str, float]:
        began = time.perf_counter()
        positions = np.arange(len(data.images))
        if not before:
            embed_shared(encoder, data.images, positions, px=setting.input_px, worker=worker)
        elif worker.rank == 0:
            embed(encoder, data.images, positions, px=setting.input_px, device=worker.device)
        spent["validation"] += time.perf_counter() - began
        return {}

    class Timed(saver):  # type: ignore[misc, valid-type]
        def offer(self, *given: Any, **named: Any) -> None:
            began = time.perf_counter()
            super().offer(*given, **named)
            if before:
                self._end()
            spent["checkpoints"] += time.perf_counter() - began

        def __exit__(self, *raised: Any) -> None:
            began = time.perf_counter()
            super().__exit__(*raised)
            spent["checkpoints"] += time.perf_counter() - began

    files.write_bytes, checkpoint.Saver = slow, Timed  # type: ignore[misc]
    validation = Validation(figures, 0 if before else len(data.images))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train(
            setting,
            data,
            worker,
            weights="random",
            report=lambda _: None,
            validation=validation,
            folder=Path(folder),
        )
        whole = time.perf_counter() - began
    files.write_bytes, checkpoint.Saver = write, saver  # type: ignore[misc]
    return whole, spent["validation"] / whole, spent["checkpoints"] / whole


def measure_overhead(paths: list[Path]) -> None:
    """Validation and checkpoints as they were and as they are, in turn, on one worker and on two."""
    whole = load(paths)
    learnt = slice(0, round(len(paths) / 1.2))  # the rest validates, among all others
    data = TrainSet(whole.images, whole.positions[learnt], whole.labels[learnt])
    for world in (1, 2):
        told = mp.get_context("spawn").Queue()
        mp.spawn(_overhead, (world, 29540 + world, data, told), nprocs=world)
        found = [told.get() for _ in range(4)]
        for way in (True, False):
            columns = zip(*(shares for before, shares in found if before == way), strict=True)
            seconds, validation, checkpoints = (median(column) for column in columns)
            name = f"{world} worker(s), {'before' if way else 'after'}"
            parts = (
                f"{100 * validation:.1f} % of it in validation, {100 * checkpoints:.1f} % with checkpoints"
            )
            print(f"{name}: {seconds:.1f} s, {parts}", flush=True)


def _join(rank: int, world: int, port: int) -> None:
    if world > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo", rank=rank, world_size=world)


# --- ray ----------------------------------------------------------------------------------------


def _epochs(data: TrainSet, worker: Worker, report: Callable[[dict[str, float]], None]) -> list[float]:
    """Of all epochs but the first: photos per second by the clock, of processor time, s a report."""
    torch.set_num_threads(1)
    ends: list[tuple[float, float, float]] = []

    def told(row: dict[str, float]) -> None:
        asked = time.perf_counter()
        report(row)
        now = time.perf_counter()
        ends.append((now, time.process_time(), now - asked))

    setting = tiny(input_px=96, epochs=6, accumulation=1)
    train(setting, data, worker, weights="random", report=told)
    photos = (len(ends) - 1) * len(data.labels)
    reports = [seconds for *_, seconds in ends[1:]]
    clock, used = (ends[-1][i] - ends[0][i] for i in (0, 1))
    return [photos / clock, photos / used, sum(reports) / len(reports)]


def _bare(rank: int, world: int, port: int, data: TrainSet, told: Any) -> None:
    _join(rank, world, port)
    found = _epochs(data, Worker(rank, world), lambda _: None)
    if rank == 0:
        told.put(found)
    if world > 1:
        dist.destroy_process_group()


def _in_ray(config: dict[str, Any]) -> None:
    import ray

    world = ray.train.get_context().get_world_size()
    data = ray.get(config["data"])
    worker = Worker.of_process_group(torch.device("cpu")) if world > 1 else Worker()
    found = _epochs(data, worker, ray.train.report)
    if worker.rank == 0:
        Path(config["to"]).write_text(json.dumps(found))


def measure_ray(paths: list[Path]) -> None:
    """The same loop as plain processes and as Ray Train workers, in turn."""
    import ray
    from ray.train.torch import TorchTrainer

    from reid_ray.on_ray.cluster.session import cluster

    data = load(paths)
    folder = tempfile.mkdtemp()

    def bare(world: int) -> list[float]:
        told = mp.get_context("spawn").SimpleQueue()
        mp.spawn(_bare, (world, 29511 + world, data, told), nprocs=world)
        return list(told.get())

    def under_ray(world: int, turn: int) -> list[float]:
        config = {"data": shared, "to": f"{folder}/{world}-{turn}.txt"}
        TorchTrainer(
            _in_ray,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=world),
            run_config=ray.train.RunConfig(name=f"{world}-{turn}", storage_path=folder),
        ).fit()
        return list(json.loads(Path(config["to"]).read_text()))

    with cluster():
        shared = ray.put(data)
        for world in (1, 2):
            pairs = [(bare(world), under_ray(world, turn)) for turn in range(3)]
            for i, what in enumerate(("by the clock", "per processor second")):
                plain, ours = (median(found[i] for found in way) for way in zip(*pairs, strict=True))
                ratio = median(ray_[i] / bare_[i] for bare_, ray_ in pairs)
                print(
                    f"{world} worker(s), photos {what}: {plain:.0f} bare, {ours:.0f} in Ray Train, "
                    f"ratio {ratio:.3f}"
                )
            print(f"  a report takes {1e3 * median(ray_[2] for _, ray_ in pairs):.1f} ms")


# --- memory -------------------------------------------------------------------------------------


_KINDS = ("Pss:", "Private_Clean:", "Private_Dirty:", "Rss:")


def _smaps(pid: int, name: str) -> float:
    """MB of a process by /proc; Pss counts a page shared by n processes as 1/n."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name)) / 1024


def mapped(paths: list[Path], *, megabytes: int) -> PreparedImages:
    """The photos so large that they are about `megabytes` together, in files of a temporary store."""
    side = round((megabytes * 2**20 / 3 / 1.3 / len(paths)) ** 0.5)  # 1.3: a usual side ratio
    store = PreparedStore(Path(tempfile.mkdtemp()), Images(short_px=side))
    rows = [Row(str(path.parent), path.name, None) for path in paths]
    index = store.index()
    return store.open([at for row in rows for at in store.prepare([row], index)])


def measure_memory(paths: list[Path]) -> None:
    """Four trials on one collection: how often its photos are in memory, from a store and from Ray's."""
    import ray

    from reid_ray.on_ray.cluster.session import cluster

    images = mapped(paths, megabytes=400)  # well above all else that varies

    @ray.remote(num_cpus=0)
    class Trialist:
        def start(self) -> int:
            torch.set_num_threads(1)
            self.data: Any = None
            # All libraries and buffers are there before the first measurement.
            import reid_ray.embedding.loop  # noqa: F401

            one = PreparedImages.pack([np.zeros((64, 64, 3), np.uint8)])
            cut = TrainTransform(Augment(), px=64, seed=0)
            list(ahead(lambda _: cut(one, [0], epoch=0, places=[0]), 20, threads=1))
            return os.getpid()

        def work(self, references: list[Any]) -> int:
            self.data = ray.get(references[0])
            cut = TrainTransform(Augment(), px=64, seed=0)
            cut(self.data, [0], epoch=0, places=[0])
            return sum(int(image.reshape(-1)[::512].sum()) for image in self.data)  # every page

    size = images.nbytes / 2**20
    with cluster():
        for name, kept in (("files", images), ("Ray's object store", PreparedImages.pack(images))):
            reference = ray.put(kept)
            actors = [Trialist.remote() for _ in range(4)]
            pids = ray.get([actor.start.remote() for actor in actors])
            before = {kind: sum(_smaps(pid, kind) for pid in pids) for kind in _KINDS}
            ray.get([actor.work.remote([reference]) for actor in actors])
            after = {kind: sum(_smaps(pid, kind) for pid in pids) for kind in _KINDS}
            print(f"photos: {size:.0f} MB in {name}; 4 trials that have read all of them:")
            for kind in before:
                grown = after[kind] - before[kind]
                print(f"  {kind} grew by {grown:.0f} MB together, {grown / size:.2f} x the photos")
            for actor in actors:
                ray.kill(actor)


# --- card ---------------------------------------------------------------------------------------

PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12}
"""Dense bf16 operations per second, from the makers' data sheets."""


def measure_card(_: list[Path]) -> None:
    """Training steps of Swin-B on a GPU (a tiny model without one), each option on and off."""
    on_gpu = torch.cuda.is_available()
    name = "swin_base_patch4_window7_224" if on_gpu else "test_convnext2"
    batch, steps = (128, 20) if on_gpu else (8, 3)
    base = {"precision": "bf16", "layout": "channels_last", "fused": on_gpu, "compile": on_gpu}
    changes: list[dict[str, Any]] = [{}]
    changes += [{"precision": "fp32"}, {"layout": "contiguous"}]
    changes += [{"fused": False}, {"compile": False}] if on_gpu else []
    flops = _flops(name)
    peak = _peak() if on_gpu else None
    for change in changes:
        speed = _steps(name, batch, steps, **(base | change))
        share = f", {100 * speed * flops / peak:.1f} % of the card's peak" if peak else ""
        what = ", ".join(f"{key}={value}" for key, value in change.items()) or f"all on {base}"
        print(f"{name}: {speed:8.1f} photos/s{share} ({what})")


def _steps(
    name: str, batch: int, steps: int, *, precision: str, layout: str, fused: bool, compile: bool
) -> float:
    from reid_ray.embedding import backbones
    from reid_ray.embedding.model import ReidModel
    from reid_ray.embedding.step import backward

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    px = PX if device.type == "cuda" else 64
    setting = tiny(backbone=name, input_px=px, precision=precision, batch_size=batch)
    made = backbones.build(name, weights="random", input_px=px)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    model = ReidModel(setting, made, classes=100).to(device).to(memory_format=memory).train()
    if compile:
        model.encoder.backbone.compile()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=fused)
    photos = torch.randint(0, 256, (batch, 3, px, px), dtype=torch.uint8, device=device)
    photos = photos.contiguous(memory_format=memory)
    labels = torch.arange(batch, device=device) % 100
    worker = Worker(device=device)
    for step in range(2 * steps):
        if step == steps:  # the first half warms up
            _wait(device)
            started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        backward(setting, worker, model, photos, labels, wrapped=model)
        optimizer.step()
    _wait(device)
    return steps * batch / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _flops(name: str) -> int:
    """Operations of one photo's training step: forward counted, backward taken as twice that."""
    from torch.utils.flop_counter import FlopCounterMode

    from reid_ray.embedding import backbones

    with torch.device("meta"):
        module = backbones.build(name, weights="random", input_px=PX).module
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 3, PX, PX))
    return 3 * int(counter.get_total_flops())


def _peak() -> float | None:
    card = torch.cuda.get_device_name()
    return next((peak for name, peak in PEAK_BF16.items() if name in card), None)


PARTS = {
    "input": measure_input,
    "wait": measure_wait,
    "overhead": measure_overhead,
    "ray": measure_ray,
    "memory": measure_memory,
    "card": measure_card,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/NyalaDev"))
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--enlarge", type=int, help="shorter side, to stand for a camera's photos")
    arguments = parser.parse_args()
    paths = sorted(arguments.data.rglob("*.jpg"))[: arguments.photos]
    if arguments.enlarge:
        paths = enlarged(paths, arguments.enlarge)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    PARTS[arguments.part](paths)


if __name__ == "__main__":
    main()
