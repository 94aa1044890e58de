"""Fill a network with all its weights, or refuse the file: nothing random is said to be loaded.

In: what makes the network, or the network, and tensors by name. Out: the network.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reid_ray.errors import WeightsError
from reid_ray.weight_files.reading import some

_FOREIGN = (RuntimeError, LookupError, AttributeError, TypeError, ValueError, AssertionError)
"""What timm's converters raise where a file is of another network."""


def made_with(make: Callable[[], nn.Module], *, source: str, name: str) -> nn.Module:
    """The network that `make` makes and fills.

    timm loads without strictness wherever the classifier is left out, which may leave a whole network random;
    it only logs that. What it left out is looked at here.

    Args:
        source: where the weights come from, for the error.
        name: the architecture.

    Raises:
        WeightsError: a tensor is missing, belongs nowhere, or does not fit.
    """
    try:
        with _told() as told:
            module = make()
    except _FOREIGN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(_refusal(source, name, reason[:300])) from None
    head = _classifiers(module)
    for missing, unexpected in told:
        _refuse(missing, [one for one in unexpected if not one.startswith(head)], source, name)
    return module


def _classifiers(module: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of what tells classes apart, which is left out on purpose."""
    config: Any = getattr(module, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return tuple(f"{one}." for one in ((named,) if isinstance(named, str) else named))


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, name: str, extra: str = ""
) -> None:
    """Give a network of our own its tensors.

    Args:
        extra: beginning of the names of what the file may hold besides.

    Raises:
        WeightsError: as `made_with`.
    """
    wanted = module.state_dict()
    counters = {one for one in wanted if one.endswith("num_batches_tracked")}
    missing = sorted(set(wanted) - set(tensors) - counters)
    unexpected = sorted(one for one in set(tensors) - set(wanted) if not (extra and one.startswith(extra)))
    _refuse(missing, unexpected, source, name)
    kept = {one: tensors[one] for one in wanted if one in tensors}
    if shapes := [one for one, value in kept.items() if value.shape != wanted[one].shape]:
        raise WeightsError(_refusal(source, name, f"{len(shapes)} of another shape ({some(shapes)})"))
    module.load_state_dict(wanted | kept)


def _refuse(missing: list[str], unexpected: list[str], source: str, name: str) -> None:
    missing = [one for one in missing if not one.endswith("num_batches_tracked")]
    found = []
    if missing:
        found.append(f"{len(missing)} tensors are missing ({some(missing)})")
    if unexpected:
        found.append(f"{len(unexpected)} belong nowhere ({some(unexpected)})")
    if found:
        raise WeightsError(_refusal(source, name, ", ".join(found)))


def _refusal(source: str, name: str, why: str) -> str:
    return f"{source}: weights of another architecture than {name}: {why}; give the weights of {name}"


@contextmanager
def _told() -> Iterator[list[tuple[list[str], list[str]]]]:
    """What networks that are filled in this thread are not given, and are given in vain."""
    told: list[tuple[list[str], list[str]]] = []
    original, mine = nn.Module.load_state_dict, threading.get_ident()

    def load(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        result = original(self, *arguments, **options)
        if threading.get_ident() == mine:
            told.append((list(result.missing_keys), list(result.unexpected_keys)))
        return result

    nn.Module.load_state_dict = load  # type: ignore[method-assign]
    try:
        yield told
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def finite(tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Refuse values that are not finite; the file is damaged then.

    Raises:
        WeightsError: names the tensor.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{source}: '{name}' has values that are not finite; the file is damaged")
