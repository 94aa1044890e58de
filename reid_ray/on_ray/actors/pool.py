"""Workers that match, and a pool that replaces the ones that die. In: calls. Out: their results."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, WorkerCrashedError

from reid_ray.config.matching import Matching
from reid_ray.errors import ReidError, ResourceError, TrialError
from reid_ray.matching.scoring import Setting, score_views

ATTEMPTS = 5
"""A call that lost so many workers is given up: it is what kills them."""
OUTSTANDING = 2
"""Calls per actor at a time: one runs, one waits, so that no actor idles."""
START_TIMEOUT_S = 300.0
QUERIES_AT_ONCE = 8
"""Their scores [8, g] are all that an actor holds beside one tile."""

Arrays = dict[str, NDArray[Any]]
_LOST = (RayActorError, WorkerCrashedError, ObjectLostError)


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class Matcher:
    """Matches on one CPU; keeps nothing between calls, so any may be lost at any time."""

    def __init__(self) -> None:
        from reid_ray.matching.engine import fastest_product, use_one_thread

        use_one_thread()
        fastest_product()

    def ready(self) -> bool:
        """Whether it has been started."""
        return True

    def extract(self, shared: Any, positions: NDArray[np.int64], config: Matching, store: Path) -> Any:
        """`Features` of a few photos, kept in `store`; see `run_matching` for `shared`."""
        from reid_ray.datasets.prepared import PreparedImages
        from reid_ray.matching.extract import resized
        from reid_ray.matching.store import load_or_extract

        photos = shared if isinstance(shared, PreparedImages) else shared.images
        images = [resized(photos[int(position)], config.short_px) for position in positions]
        return load_or_extract(store, images, config.extractor)

    def tune(
        self, references: Any, config: Matching, lookups: NDArray[np.int64], vectors_gd: Any, hidden_g: Any
    ) -> Arrays:
        """Right answers of some references per setting, leave-one-out."""
        from reid_ray.matching.tuning import right_per_setting

        return {
            "right": right_per_setting(references, config, lookups, vectors_gd=vectors_gd, hidden_g=hidden_g)
        }

    def look_up(
        self, references: Any, vectors: Any, config: Matching, setting: Setting, places: NDArray[np.int64]
    ) -> Arrays:
        """The fields of `Lookups` for some references, a few at a time."""
        from reid_ray.on_ray.matching_blocks import look_up

        vectors_gd = None if vectors is None else vectors.references_gd
        return dict(look_up(references, vectors_gd, config, setting, places)._asdict())

    def rank(
        self,
        references: Any,
        looking: Any,
        vectors: Any,
        start: int,
        stop: int,
        config: Matching,
        settings: tuple[Setting, Setting],
        k: int,
        kept: Path | None,
    ) -> Arrays:
        """The flattened `Ranked` of queries start:stop, a few at a time.

        Args:
            vectors: with a shortlist.
            settings: with the references the config leaves in, and with those of other encounters.
        """
        from reid_ray.on_ray.matching_blocks import rank_all, rank_shortlisted

        block = np.arange(start, stop)
        if vectors is None:
            return rank_all(references, looking, config, settings, block, k=k, kept=kept)
        return rank_shortlisted(references, looking, vectors, config, settings[0], block, k=k)

    def pairs(self, task: Any, lookups: NDArray[np.int64], *parts: Any) -> Arrays:
        """The fields of `Pairs` of some look-ups; see `fusion_blocks.Task`."""
        from reid_ray.on_ray.fusion_blocks import lookup_pairs

        return dict(vars(lookup_pairs(task, lookups, _fetched(parts))))

    def fuse(self, task: Any, fused: Any, start: int, stop: int, k: int, *parts: Any) -> Arrays:
        """The flattened `Ranked` of queries start:stop, by all parts joined."""
        from reid_ray.on_ray.fusion_blocks import rank_fused

        return rank_fused(task, fused, np.arange(start, stop), _fetched(parts), k=k).arrays()

    def score(
        self,
        references: Any,
        queries: Any,
        start: int,
        stop: int,
        config: Matching,
        setting: Setting,
        out_qg: NDArray[np.bool_] | None,
    ) -> Arrays:
        """Scores float32 [stop - start, g] of queries start:stop; `EXCLUDED` where `out_qg` says so."""
        parts = []
        for at in range(start, stop, QUERIES_AT_ONCE):
            block = np.arange(at, min(at + QUERIES_AT_ONCE, stop))
            nothing = np.zeros((len(block), len(references.packed)), bool)
            out = nothing if out_qg is None else out_qg[block - start]
            parts.append(score_views(queries.take(block), references, config, [(setting, out)])[0])
        return {"scores": np.concatenate(parts)}


def _fetched(parts: Any) -> list[Any]:
    """Parts with what they name in the object store, read in place."""
    from reid_ray.on_ray.fusion_blocks import LocalPart

    return [
        replace(part, references=ray.get(part.references), looking=ray.get(part.looking))
        if isinstance(part, LocalPart)
        else part
        for part in parts
    ]


@dataclass(frozen=True)
class Call:
    """A method of `Matcher` and its arguments, object references among them."""

    method: str
    arguments: tuple[Any, ...]


@dataclass
class _Worker:
    """An actor, its start while that has not ended, and the calls it was given."""

    actor: Any
    starting: ray.ObjectRef | None
    calls: dict[ray.ObjectRef, str] = field(default_factory=dict)
    lost: bool = False

    @property
    def free(self) -> bool:
        return self.starting is None and not self.lost and len(self.calls) < OUTSTANDING


class Pool:
    """Up to `size` actors. Calls go only to actors that run, so one that cannot start harms none.

    Args:
        start: makes an actor with a method `ready`.
        kind, setting: name the work and the config key of `size` in errors.
    """

    def __init__(
        self,
        size: int,
        start: Callable[[], Any] = Matcher.remote,  # type: ignore[attr-defined]
        *,
        kind: str = "matching",
        setting: str = "scaling.matching_actors",
    ) -> None:
        self.size = size
        self._start, self._kind, self._setting = start, kind, setting
        self.workers: list[_Worker] = []
        self._failed_starts = 0

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            ray.kill(worker.actor)
        self.workers = []

    def run(self, calls: dict[str, Call]) -> Iterator[tuple[str, Any]]:
        """Results by name, as they end.

        Raises:
            ResourceError: no actor runs after `START_TIMEOUT_S`. TrialError: a call lost its worker
                `ATTEMPTS` times. What the work itself raises is raised here, once.
        """
        waiting = deque(calls)
        losses = dict.fromkeys(calls, 0)
        left = len(calls)
        idle_since = time.monotonic()
        while left:
            self._fill(calls, waiting, left)
            for worker, ref in self._ended():
                name, arrays = self._take(worker, ref)
                if arrays is not None:
                    left -= 1
                    yield name, arrays
                elif name:
                    losses[name] += 1
                    if losses[name] >= ATTEMPTS:
                        raise TrialError(f"{self._kind} {name}: its process died {ATTEMPTS} times")
                    waiting.appendleft(name)
            if any(worker.starting is None for worker in self.workers):
                idle_since = time.monotonic()
            self._refuse_to_wait(time.monotonic() - idle_since)

    def _refuse_to_wait(self, idle_s: float) -> None:
        if idle_s > START_TIMEOUT_S or self._failed_starts >= ATTEMPTS:
            raise ResourceError(
                f"no {self._kind} process could start ({self._failed_starts} starts failed, "
                f"{idle_s:.0f} s waited); is a CPU free? lower {self._setting}"
            )

    def _fill(self, calls: dict[str, Call], waiting: deque[str], left: int) -> None:
        """Start missing actors, and give each that runs its share of calls."""
        while len(self.workers) < min(self.size, left):
            actor = self._start()
            self.workers.append(_Worker(actor, actor.ready.remote()))
        for _ in range(OUTSTANDING):
            for worker in self.workers:
                if waiting and worker.free:
                    name = waiting.popleft()
                    call = calls[name]
                    ref = getattr(worker.actor, call.method).remote(*call.arguments)
                    worker.calls[ref] = name

    def _ended(self) -> list[tuple[_Worker, ray.ObjectRef]]:
        """What ends first within a second, a start or a call, with its worker."""
        owners = {ref: worker for worker in self.workers for ref in worker.calls}
        owners |= {w.starting: w for w in self.workers if w.starting is not None}
        ended, _ = ray.wait(list(owners), num_returns=1, timeout=1.0)
        return [(owners[ref], ref) for ref in ended]

    def _take(self, worker: _Worker, ref: ray.ObjectRef) -> tuple[str, Any]:
        """(name, result) of a call; (name, None) if its worker was lost; ("", None) of a start."""
        name = worker.calls.pop(ref, "")
        try:
            value = ray.get(ref)
        except _LOST:
            self._failed_starts += not name
            worker.starting, worker.lost = None, True
            if not worker.calls:
                self.workers.remove(worker)
            return name, None
        except RayTaskError as error:  # what the work itself raised, as it was raised
            raise error.cause if isinstance(error.cause, ReidError) else error from None
        if not name:
            worker.starting, self._failed_starts = None, 0
            return "", None
        return name, value
