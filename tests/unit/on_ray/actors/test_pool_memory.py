"""Where memory runs out, fewer processes work at a time, and at last a sentence says what to lower."""

from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError

from reid_ray.errors import ResourceError
from reid_ray.on_ray.actors import pool as module
from reid_ray.on_ray.actors.pool import ATTEMPTS, Pool


class FakeRay:
    """Calls end in the order in which they were given; `outcome` says how, from how many run at a time."""

    def __init__(self, outcome: Callable[[int], Any]) -> None:
        self.outcome, self.alive, self.most = outcome, 0, []
        self.refs: dict[object, Any] = {}

    def actor(self) -> Any:
        self.alive += 1
        fake = self

        class Method:
            def __init__(self, call: bool) -> None:
                self.call = call

            def remote(self, *_: Any) -> object:
                ref = object()
                fake.refs[ref] = self.call
                return ref

        class Actor:
            ready, run = Method(False), Method(True)

        return Actor()

    def wait(self, refs: list[object], *, num_returns: int, timeout: float) -> tuple[list[object], None]:
        return [next(ref for ref in self.refs if ref in refs)], None

    def get(self, ref: object) -> Any:
        if not self.refs.pop(ref):
            return True
        self.most.append(self.alive)
        result = self.outcome(self.alive)
        if isinstance(result, BaseException):
            self.alive -= 1
            raise result
        return result

    def kill(self, actor: Any) -> None:
        self.alive -= 1


def pooled(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Pool:
    for name in ("wait", "get", "kill"):
        monkeypatch.setattr(module.ray, name, getattr(fake, name))
    return Pool(8, fake.actor, kind="matching", setting="scaling.matching_actors")


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("Task was killed"), RayActorError(error_msg="exit type: NODE_OUT_OF_MEMORY")],
    ids=["task", "actor"],
)
def test_half_as_many_work_until_they_fit(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(lambda alive: error if alive > 2 else "done")
    pool = pooled(fake, monkeypatch)
    done = dict(pool.run({str(n): object() for n in range(40)}))  # type: ignore[misc]
    assert len(done) == 40
    assert set(done.values()) == {"done"}
    assert pool.size <= 2
    assert max(fake.most[-20:]) <= 2


def test_what_fits_nowhere_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pooled(FakeRay(lambda alive: OutOfMemoryError("60 lines\n" * 60)), monkeypatch)
    with pytest.raises(ResourceError) as caught:
        dict(pool.run({"one": object()}))  # type: ignore[dict-item]
    assert f"memory ran out {ATTEMPTS} times" in str(caught.value)
    assert "scaling.matching_actors" in str(caught.value)
    assert "60 lines" not in str(caught.value)
