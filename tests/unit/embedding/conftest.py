"""One thread for torch: tiny networks gain nothing from more, which wait on a busy machine."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
