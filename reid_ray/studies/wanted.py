"""Look at all weights that a study needs before anything is started.

In: its config. Out: which methods cannot be run, and why. A method whose weights are not there is "not run",
with what gets them. Only a training whose own weights are missing or of another architecture is an error: it
would be another training.
"""

from collections.abc import Callable

from reid_ray.config.fusion import by_name, required
from reid_ray.config.tune import Study
from reid_ray.embedding import backbones
from reid_ray.embedding.availability import find
from reid_ray.errors import WeightsError
from reid_ray.matching.extract import check_weights

_NO_FILE = ("auto", "random")


def look_for_weights(study: Study, *, say: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """Methods that cannot be run, by name, with the reason and what to do; each is said.

    Raises:
        WeightsError: a backbone of the grid cannot start from the weights it is given.
        ConfigError: no such model.
    """
    for name in study.backbones():
        _check_start(name, study.training.weights_of(name))
    found = {}
    for model in study.baselines.pretrained:
        there = find(model)
        if there.missing:
            found[model.name] = there.sentence
    for config in study.baselines.matching:
        try:
            check_weights(config)
        except WeightsError as error:
            found[config.name] = str(error)
    configs = by_name(study.baselines.matching, study.fusion)
    for name, one in configs.items():
        if name not in found and (lacking := sorted(required(one, configs) & set(found))):
            found[name] = f"it builds on {lacking[0]}, which is not run"
    for name, reason in found.items():
        say(f"note: {name} will not be run: {reason}")
    return found


def _check_start(name: str, weights: str) -> None:
    if weights in _NO_FILE or weights.startswith("hf-hub:"):
        return
    try:
        backbones.check_fit(name, backbones.local(weights))
    except WeightsError as error:
        raise WeightsError(f"training.weights of {name}: {error}") from None
