"""bf16 only where the card has units for it."""

import pytest
import torch

from reid_ray.embedding.precision import of_device


@pytest.mark.parametrize(
    ("card", "expected"),
    [((7, 0), "fp32"), ((7, 5), "fp32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")],
    ids=["V100", "T4", "A100", "L4", "H100"],
)
def test_auto_is_what_the_card_computes(
    card: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # also by emulation
    assert of_device(torch.device("cuda")) == expected
    assert of_device(torch.device("cuda"), "bf16") == "bf16"
    assert of_device(torch.device("cuda"), "fp32") == "fp32"


def test_a_cpu_computes_fp32_unless_asked() -> None:
    assert of_device(torch.device("cpu")) == "fp32"
    assert of_device(torch.device("cpu"), "bf16") == "bf16"
