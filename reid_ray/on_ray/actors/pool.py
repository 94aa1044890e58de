"""Workers, and a pool that replaces the ones that die. In: requests. Out: their results."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reid_ray.errors import ReidError, ResourceError, TrialError
from reid_ray.methods.bench import Request

ATTEMPTS = 5
"""A call that lost so many workers is given up: it is what kills them."""
OUTSTANDING = 2
"""Calls per actor at a time: one runs, one waits, so that no actor idles."""
START_TIMEOUT_S = 300.0
_LOST = (RayActorError, WorkerCrashedError, ObjectLostError, OutOfMemoryError)


class Worker:
    """Does requests on one CPU or a share of a GPU; any may be lost at any time.

    Args:
        matches: get ready to match local features.
    """

    def __init__(self, matches: bool) -> None:
        if matches:
            from reid_ray.matching.engine import fastest_product, use_one_thread

            use_one_thread()
            fastest_product()

    def ready(self) -> bool:
        """Whether it has been started."""
        return True

    def run(self, request: Request, *shared: Any) -> Any:
        """The request's result; the pool takes None for a lost worker."""
        return request.run(*shared)


def starting(*, gpus: float = 0.0, matches: bool = False) -> Callable[..., Any]:
    """What starts a worker, wherever there is room or on the node of an id that it is given."""
    actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker)

    def start(node: str = "") -> Any:
        # Soft: where the node is gone, any other will do.
        where = NodeAffinitySchedulingStrategy(node, soft=True) if node else None
        return actor.options(num_gpus=gpus, scheduling_strategy=where).remote(matches)

    return start


@dataclass
class _Worker:
    """An actor, its start while that has not ended, and the requests it was given."""

    actor: Any
    starting: ray.ObjectRef | None
    node: str = ""
    calls: dict[ray.ObjectRef, str] = field(default_factory=dict)
    lost: bool = False

    @property
    def free(self) -> bool:
        return self.starting is None and not self.lost and len(self.calls) < OUTSTANDING


class Pool:
    """Up to `size` actors. Calls go only to actors that run, so one that cannot start harms none.

    Where Ray's memory monitor ends one, half as many go on.

    Args:
        start: makes an actor with a method `ready`; where there are `nodes`, on the one of an id.
        kind, setting: name the work and the config key of `size` in errors.
        nodes: ids of the nodes to stay on, each as often as it may have an actor; () is anywhere.
    """

    def __init__(
        self, size: int, start: Callable[..., Any], *, kind: str, setting: str, nodes: Sequence[str] = ()
    ) -> None:
        self.size = min(size, len(nodes)) if nodes else size
        self._start, self._kind, self._setting = start, kind, setting
        self._nodes = tuple(nodes)
        self._stopped = False
        self.workers: list[_Worker] = []
        self._failed_starts = 0
        self._short_of_memory = False

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give all workers back; the next requests start new ones."""
        for worker in self.workers:
            ray.kill(worker.actor)
        self.workers = []

    def grow(self, size: int) -> None:
        """Use so many actors from now on, on any node."""
        self._nodes, self.size = (), size

    def stop(self) -> None:
        """Give all workers back, and up what runs."""
        self._stopped = True
        self.release()

    def run(self, requests: Mapping[str, Request], *shared: Any) -> Iterator[tuple[str, Any]]:
        """Results by name, as they end; `shared` are references to objects that each request is given.

        Raises:
            ResourceError: no actor runs after `START_TIMEOUT_S`, or memory ran out `ATTEMPTS` times in one
                call though ever fewer ran at a time. TrialError: a call lost its worker `ATTEMPTS` times.
                What the work itself raises is raised here, once.
        """
        waiting = deque(requests)
        losses = dict.fromkeys(requests, 0)
        left = len(requests)
        idle_since = time.monotonic()
        while left:
            if self._stopped:
                raise TrialError(f"{self._kind}: stopped")
            self._fill(requests, shared, waiting, left)
            for worker, ref in self._ended():
                name, arrays = self._take(worker, ref)
                if arrays is not None:
                    left -= 1
                    yield name, arrays
                elif name:
                    losses[name] += 1
                    if losses[name] >= ATTEMPTS:
                        raise self._given_up(name)
                    waiting.appendleft(name)
            if any(worker.starting is None for worker in self.workers):
                idle_since = time.monotonic()
            self._refuse_to_wait(time.monotonic() - idle_since)

    def _given_up(self, name: str) -> ReidError:
        if self._short_of_memory:
            return ResourceError(
                f"{self._kind}: memory ran out {ATTEMPTS} times, at last with {self.size} process(es) at a "
                f"time; lower data.images.short_px or {self._setting}, close other programs, or use a "
                "machine with more memory; what is finished is kept"
            )
        return TrialError(f"{self._kind} {name}: its process died {ATTEMPTS} times")

    def _refuse_to_wait(self, idle_s: float) -> None:
        if idle_s > START_TIMEOUT_S or self._failed_starts >= ATTEMPTS:
            raise ResourceError(
                f"no {self._kind} process could start ({self._failed_starts} starts failed, "
                f"{idle_s:.0f} s waited); is a CPU free? lower {self._setting}"
            )

    def _fill(
        self, requests: Mapping[str, Request], shared: tuple[Any, ...], waiting: deque[str], left: int
    ) -> None:
        """Start missing actors, let go of those too many, and give each that runs its share of calls."""
        for worker in [worker for worker in self.workers[self.size :] if not worker.calls]:
            ray.kill(worker.actor)
            self.workers.remove(worker)
        while len(self.workers) < min(self.size, left):
            node = self._node()
            actor = self._start(node) if node else self._start()
            self.workers.append(_Worker(actor, actor.ready.remote(), node))
        for _ in range(OUTSTANDING):
            for worker in self.workers[: self.size]:
                if waiting and worker.free:
                    name = waiting.popleft()
                    worker.calls[worker.actor.run.remote(requests[name], *shared)] = name

    def _node(self) -> str:
        """One that has fewer actors than it may; "" is any."""
        left = Counter(self._nodes) - Counter(worker.node for worker in self.workers)
        return next(iter(left), "")

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
        except _LOST as error:
            if _out_of_memory(error):
                # `_fill` lets go of those that are too many, once they ended what they have.
                self._short_of_memory, self.size = True, max(1, self.size // 2)
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


class Here:
    """Does requests in this process, for work that is done before a worker would have started."""

    def release(self) -> None:
        pass

    def run(self, requests: Mapping[str, Request], *shared: Any) -> Iterator[tuple[str, Any]]:
        """As `Pool.run`."""
        values = [ray.get(one) if isinstance(one, ray.ObjectRef) else one for one in shared]
        for name, request in requests.items():
            yield name, request.run(*values)


def _out_of_memory(error: BaseException) -> bool:
    """Whether Ray's memory monitor ended the process; of an actor it only says so in words."""
    return isinstance(error, OutOfMemoryError) or any(
        words in str(error) for words in ("OUT_OF_MEMORY", "low on memory")
    )
