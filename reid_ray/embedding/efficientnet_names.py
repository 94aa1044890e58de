"""Give tensors of EfficientNet-PyTorch the names that timm has for them.

In: tensors by name. Out: the same, renamed. Both networks compute the same; there blocks are numbered
through, here by stage.
"""

import re
from collections.abc import Mapping

import timm
import torch
from torch import Tensor

_FIRST = "_conv_stem.weight"
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_WITHOUT_EXPANSION = _IN_BLOCK | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def with_timms_names(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """What is not of that library, or not for an EfficientNet of timm, comes back as it is."""
    if _FIRST not in tensors or not timm.is_model(name.split(".")[0]):
        return dict(tensors)
    with torch.device("meta"):
        blocks = getattr(timm.create_model(name, pretrained=False), "blocks", None)
    if not isinstance(blocks, torch.nn.Sequential):
        return dict(tensors)
    stages = [len(list(stage.children())) for stage in blocks]
    places = [f"blocks.{stage}.{one}" for stage, count in enumerate(stages) for one in range(count)]
    expands = {one.split(".")[1] for one in tensors if "_expand_conv" in one}

    def renamed(old: str) -> str:
        found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", old)
        if found is None:
            part, _, rest = old.partition(".")
            return f"{_TOP.get(part, part)}.{rest}"
        number, part, rest = found.groups()
        names = _IN_BLOCK if number in expands else _WITHOUT_EXPANSION
        place = places[int(number)] if int(number) < len(places) else f"blocks.{number}"
        return f"{place}.{names.get(part, part)}.{rest}"

    return {renamed(old): value for old, value in tensors.items()}
