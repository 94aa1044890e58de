"""Find out how a card computes a training fastest.

In: a model that is not trained yet. Out: a `Way`. All ways compute the same but for rounding, so a resumed
training takes the one it began with.
"""

import math
import time
from dataclasses import dataclass

import torch

from reid_ray.config.training import Trial
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import ReidModel
from reid_ray.embedding.step import autocast

_LEAST_STEPS = 500
"""Of a training that is worth a look; shorter ones take what is usually fastest."""
_COMPILING_S = 120.0
"""What compiling is thought to take before it is tried."""
_COMPILING_SHARE = 0.05
"""Of the training that compiling may take."""
_WARMING_UP, _MEASURED = 3, 8


@dataclass(frozen=True)
class Way:
    """How a training is computed.

    Attributes:
        channels_last: the layout of convolutions' weights.
        compiled: by `torch.compile`.
    """

    channels_last: bool = False
    compiled: bool = False

    def take(self, model: ReidModel) -> None:
        """Change the model in place; names of its weights stay."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model.to(memory_format=layout)
        model.encoder.backbone._compiled_call_impl = None  # undoes `compile`
        if self.compiled:
            model.encoder.backbone.compile()


def calibrated(trial: Trial, worker: Worker, model: ReidModel, *, photos: int, steps: int) -> Way:
    """The fastest way on a card, the same on all ranks; on a CPU as configured, not measured.

    Compiling is tried where the training is so long that it may pay, unless the config has decided.

    Args:
        photos: that pass the model at once.
        steps: of the optimiser in the whole training.
    """
    if worker.device.type != "cuda":
        return Way(compiled=trial.compile is True)
    torch.backends.cudnn.benchmark = True  # shapes stay the same, so cuDNN measures its algorithms once
    layouts = [Way(channels_last=True), Way()] if steps >= _LEAST_STEPS else [Way(channels_last=True)]
    seconds = {way: _seconds(trial, worker, model, way, photos) for way in layouts if len(layouts) > 1}
    last = worker.agreed(min(layouts, key=lambda way: seconds.get(way, 0.0)).channels_last)
    plain, compiled = Way(last), Way(last, compiled=True)
    if trial.compile != "auto":
        return compiled if trial.compile else plain
    passes = steps * trial.batch_size / (photos * worker.world)
    if not worker.agreed(seconds.get(plain, 0.0) * passes * _COMPILING_SHARE > _COMPILING_S):
        return plain
    faster = _seconds(trial, worker, model, compiled, photos) < seconds[plain]
    return compiled if worker.agreed(faster) else plain


def _seconds(trial: Trial, worker: Worker, model: ReidModel, way: Way, photos: int) -> float:
    """That a pass forward and back takes; infinite where this machine cannot. The model's numbers stay."""
    way.take(model.train())
    statistics = [buffer.clone() for buffer in model.buffers()]
    shape = (photos, 3, trial.input_px, trial.input_px)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, device=worker.device)
    began = 0.0
    try:
        for number in range(_WARMING_UP + _MEASURED):
            if number == _WARMING_UP:
                began = _now(worker)
            with autocast(trial, worker):
                features = model.encoder(noise)
            features.sum().backward()
        return (_now(worker) - began) / _MEASURED
    except torch.OutOfMemoryError:
        raise  # the training itself would run out of it, too, and knows what to do
    except RuntimeError:
        if not way.compiled:
            raise
        return math.inf  # no compiler here, or the network is beyond it
    finally:
        model.zero_grad(set_to_none=True)
        for buffer, value in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(value)


def _now(worker: Worker) -> float:
    if worker.device.type == "cuda":
        torch.cuda.synchronize(worker.device)
    return time.perf_counter()
