"""Decide in which precision a device computes. In: the device and what is asked for. Out: bf16 or fp32."""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
_AMPERE = (8, 0)
"""Compute capability of the first cards with bf16 units (A100, L4, H100 ...)."""


def of_device(device: torch.device, asked: str = "auto") -> Precision:
    """`asked` itself, or with `auto`: bf16 where the card computes it, fp32 elsewhere.

    V100 and T4 (compute capability 7.x) only emulate bf16, several times slower than fp32, though
    `torch.cuda.is_bf16_supported()` says yes.
    """
    if asked in ("fp32", "bf16"):
        return "bf16" if asked == "bf16" else "fp32"
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.version.hip or torch.cuda.get_device_capability(device) >= _AMPERE else "fp32"
