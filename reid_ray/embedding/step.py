"""One optimiser step's gradients, on all workers and over all accumulated parts of the batch.

In: photos and labels of this rank. Out: `.grad` of the mean loss of the global batch (or, where the trial
says so, of the sum of its parts' mean losses), and the mean loss.
"""

import torch
from torch import Tensor, nn

from reid_ray.config.training import Trial, Triplet
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import ReidModel, gather
from reid_ray.embedding.precision import of_device


def backward(
    trial: Trial, worker: Worker, model: ReidModel, photos: Tensor, labels: Tensor, *, wrapped: nn.Module
) -> Tensor:
    """Add the batch's gradients to the parameters; returns its loss, left on the device.

    k parts of B give what one batch of kB gives, for both losses. With `accumulate: sum` each part is a batch
    of its own, mined by itself, and their gradients are added, as in wildlife-tools' trainer of 2023: the
    effective learning rate grows with k.

    Args:
        wrapped: the model under DDP, or the model itself.
    """
    parts = [
        slice(part * len(photos) // trial.accumulation, (part + 1) * len(photos) // trial.accumulation)
        for part in range(trial.accumulation)
    ]
    summed = trial.accumulate == "sum"
    if isinstance(trial.loss, Triplet) and len(parts) > 1 and not summed:
        return _cached(trial, worker, model, photos, labels, wrapped=wrapped, parts=parts)
    losses = []
    for part, mine in enumerate(parts):
        with worker.no_sync(wrapped, when=part + 1 < len(parts)):
            with autocast(trial, worker):
                loss = wrapped(photos[mine], labels[mine])
            (loss if summed else loss / len(parts)).backward()
        losses.append(loss.detach())
    return torch.stack(losses).mean()


def _cached(
    trial: Trial,
    worker: Worker,
    model: ReidModel,
    photos: Tensor,
    labels: Tensor,
    *,
    wrapped: nn.Module,
    parts: list[slice],
) -> Tensor:
    """Gradients of a loss over triplets that reach across parts (cached gradients, Gao et al.
    2021).

    All parts are embedded without a graph, the loss of the global batch tells each embedding's
    gradient, and each part is embedded again to pass its share on. Costs one more forward pass,
    about a third more time; memory is that of one part. Dropout and drop-path draw the same again.
    BatchNorm normalises by each part, as it does in any accumulation.
    """
    statistics = [buffer.clone() for buffer in model.buffers()]
    states, cached = [], []
    with torch.no_grad(), autocast(trial, worker):
        for mine in parts:
            states.append(_draw_state(worker))
            cached.append(model.encoder(photos[mine]))
    for buffer, value in zip(model.buffers(), statistics, strict=True):
        buffer.copy_(value)  # the second pass counts each photo once in the running statistics
    features = torch.cat(cached).requires_grad_()
    loss: Tensor = model.head(gather(features), gather(labels))
    (gradient,) = torch.autograd.grad(loss, features)
    for part, mine in enumerate(parts):
        _set_draw_state(worker, states[part])
        with worker.no_sync(wrapped, when=part + 1 < len(parts)):
            with autocast(trial, worker):
                again = wrapped(photos[mine])
            again.backward(gradient[mine])
    return loss.detach()


def _draw_state(worker: Worker) -> Tensor:
    return torch.cuda.get_rng_state(worker.device) if worker.device.type == "cuda" else torch.get_rng_state()


def _set_draw_state(worker: Worker, state: Tensor) -> None:
    if worker.device.type == "cuda":
        torch.cuda.set_rng_state(state, worker.device)
    else:
        torch.set_rng_state(state)


def autocast(trial: Trial, worker: Worker) -> torch.autocast:
    """bf16 where it is asked for or, with `auto`, computed by the card."""
    bf16 = of_device(worker.device, trial.precision) == "bf16"
    return torch.autocast(worker.device.type, dtype=torch.bfloat16, enabled=bf16)
