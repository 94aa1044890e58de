"""Write losses, gradients and three SGD steps of wildlife-tools 0.0.9 (MIT) itself beside this file, as JSON.

The package wants faiss-gpu and other libraries that its losses do not need, so it is no dependency here, and
the one module is run by itself:

    uv pip install --no-deps --target /tmp/wt wildlife-tools==0.0.9
    uv run python tests/golden/losses_of_wildlife_tools.py /tmp/wt/wildlife_tools/train/objective.py
"""

import json
import runpy
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PHOTOS, CLASSES, INPUTS, DIMS = 24, 5, 8, 6
LR, MOMENTUM, STEPS = 0.1, 0.9, 3


def cases() -> dict[str, dict[str, Any]]:
    """Settings by name, in our words."""
    found: dict[str, dict[str, Any]] = {
        f"arcface m={margin} s={scale}": {"name": "arcface", "margin_rad": margin, "scale": scale}
        for margin, scale in product((0.25, 0.5, 0.75), (32.0, 64.0))
    }
    for distance, mining, margin in product(("l2_squared", "l2"), ("all", "semi", "hard"), (0.1, 0.2)):
        settings = {"name": "triplet", "mining": mining, "margin": margin, "distance": distance}
        found[f"triplet {mining} m={margin} {distance}"] = settings
    return found


def objective(module: dict[str, Any], settings: dict[str, Any]) -> nn.Module:
    """wildlife-tools' own."""
    head: nn.Module
    if settings["name"] == "arcface":
        head = module["ArcFaceLoss"](CLASSES, DIMS, margin=settings["margin_rad"], scale=settings["scale"])
    else:
        mining = {"semi": "semihard"}.get(settings["mining"], settings["mining"])
        head = module["TripletLoss"](margin=settings["margin"], mining=mining, distance=settings["distance"])
    return head


def inputs() -> dict[str, Any]:
    """Photos as vectors of few numbers, their labels, a linear network's and the class centres' start."""
    rng = np.random.default_rng(20)
    labels = np.arange(PHOTOS) % CLASSES
    photos = rng.normal(size=(CLASSES, INPUTS))[labels] + 0.9 * rng.normal(size=(PHOTOS, INPUTS))
    start = {"network": rng.normal(size=(DIMS, INPUTS)), "centres": rng.normal(size=(DIMS, CLASSES))}
    values = {"photos": photos, "labels": labels, **start}
    return {name: value.tolist() for name, value in values.items()}


def follow(head: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """The first loss and the network's gradient, then its weights after SGD steps with `head`."""
    photos, start = (torch.tensor(given[name], dtype=torch.float64) for name in ("photos", "network"))
    labels = torch.tensor(given["labels"])
    network = nn.Linear(INPUTS, DIMS, bias=False).double()
    head = head.double()
    with torch.no_grad():
        network.weight.copy_(start)
        for centres in head.parameters():
            centres.copy_(torch.tensor(given["centres"]))
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=LR, momentum=MOMENTUM)
    losses, gradient = [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = head(network(photos), labels)
        loss.backward()
        losses.append(loss.item())
        gradient = network.weight.grad.tolist() if gradient is None else gradient  # type: ignore[union-attr]
        optimizer.step()
    centres = [parameter.tolist() for parameter in head.parameters()]
    return {"losses": losses, "gradient": gradient, "network": network.weight.tolist(), "centres": centres}


if __name__ == "__main__":
    module, given = runpy.run_path(sys.argv[1]), inputs()
    values = {name: follow(objective(module, settings), given) for name, settings in cases().items()}
    text = json.dumps({"inputs": given, "values": values})
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
