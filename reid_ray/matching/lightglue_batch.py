"""Run LightGlue on several pairs of photos at once, each as if it were alone.

kornia's own class runs pairs one by one where points are pruned, and otherwise stops a batch only when
every pair may stop. Here a pair leaves the batch at the layer where it may stop (adaptive depth), and loses
the points that it would lose alone (adaptive width), whatever the others do; what is missing to the size of
the largest is filled up and masked. Equations: Lindenberger et al. 2023 (arXiv 2306.13643), section 3.3.

Legend: b pairs, k keypoints of the largest photo, d descriptor dims.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from kornia.feature import LightGlue as Network
from kornia.feature.lightglue import filter_matches
from torch import Tensor


class Keypoints(NamedTuple):
    """One photo.

    Attributes:
        descriptors: float32 [n, d].
        points: float32 [n, 2], from -1 to 1 over the longer side; [n, 4] with scale and angle.
    """

    descriptors: Tensor
    points: Tensor


class Matches(NamedTuple):
    """Matches of one pair: int64 [m, 2], and how sure the network is of each, float32 [m] (0..1)."""

    pairs: Tensor
    scores: Tensor


@dataclass
class _Side:
    """One side of all pairs that are still in the batch.

    Attributes:
        descriptors: [b, k, d]. encoding: [2, b, 1, k, d per head].
        numbers: int64 [b, k], which keypoint of the photo each is. counts: int64 [b], keypoints left.
    """

    descriptors: Tensor
    encoding: Tensor
    numbers: Tensor
    counts: Tensor

    @classmethod
    def of(cls, net: Network, photos: Sequence[Keypoints]) -> "_Side":
        pad = torch.nn.utils.rnn.pad_sequence
        descriptors = net.input_proj(pad([one.descriptors for one in photos], batch_first=True))
        encoding = net.posenc(pad([one.points for one in photos], batch_first=True))
        counts = torch.tensor([len(one.points) for one in photos], device=descriptors.device)
        numbers = torch.arange(descriptors.shape[1], device=descriptors.device).repeat(len(photos), 1)
        return cls(descriptors, encoding, numbers, counts)

    @property
    def there(self) -> Tensor:
        """Which places hold a keypoint, bool [b, k]."""
        places = torch.arange(self.descriptors.shape[1], device=self.counts.device)
        return places < self.counts[:, None]

    def take(self, rows: Tensor) -> "_Side":
        """Some of the pairs."""
        found = _Side(self.descriptors[rows], self.encoding[:, rows], self.numbers[rows], self.counts[rows])
        return found._cut()

    def keep(self, kept: Tensor) -> "_Side":
        """The keypoints that are `kept`, bool [b, k], in their order."""
        order = torch.argsort(~kept, dim=1, stable=True)
        rows = torch.arange(len(order), device=order.device)[:, None]
        found = _Side(
            self.descriptors[rows, order],
            self.encoding[:, rows, :, order].permute(2, 0, 3, 1, 4),
            self.numbers[rows, order],
            kept.sum(dim=1),
        )
        return found._cut()

    def _cut(self) -> "_Side":
        """Without places that no photo fills."""
        most = int(self.counts.max()) if len(self.counts) else 0
        return _Side(
            self.descriptors[:, :most], self.encoding[:, :, :, :most], self.numbers[:, :most], self.counts
        )


@torch.inference_mode()
def match(net: Network, pairs: Sequence[tuple[Keypoints, Keypoints]]) -> list[Matches]:
    """Matches of each pair, those of every score above 0; photos have at least one keypoint."""
    first, second = (_Side.of(net, [pair[side] for pair in pairs]) for side in (0, 1))
    points = first.counts + second.counts
    waiting = torch.arange(len(pairs), device=points.device)
    found: dict[int, Matches] = {}
    for number, layer in enumerate(net.transformers):
        first.descriptors, second.descriptors = _layer(layer, first, second)
        last = number == net.conf.n_layers - 1
        sure = None if last or net.conf.depth_confidence <= 0 else _sure(net, number, first, second)
        ended = _ended(net, number, first, second, sure, points[waiting], last=last)
        for row in torch.nonzero(ended)[:, 0].tolist():
            found[int(waiting[row])] = _assigned(net, number, first, second, row)
        if last or bool(ended.all()):
            break
        left = torch.nonzero(~ended)[:, 0]
        sides = []
        for place, side in enumerate((first, second)):
            confidence = None if sure is None else sure[place][left, :]
            sides.append(_pruned(net, number, side.take(left), confidence))
        first, second, waiting = *sides, waiting[left]
        gone = (first.counts == 0) | (second.counts == 0)
        for row in torch.nonzero(gone)[:, 0].tolist():
            found[int(waiting[row])] = Matches(
                first.numbers.new_zeros((0, 2)), first.descriptors.new_zeros(0)
            )
        if bool(gone.all()):
            break
        if bool(gone.any()):
            rows = torch.nonzero(~gone)[:, 0]
            first, second, waiting = first.take(rows), second.take(rows), waiting[rows]
    return [found[row] for row in range(len(pairs))]


def _layer(layer: Any, first: _Side, second: _Side) -> tuple[Tensor, Tensor]:
    """Self-attention within either photo, then cross-attention, over keypoints that are there."""
    there = [side.there for side in (first, second)]
    whole = [bool(one.all()) for one in there]
    own = [
        layer.self_attn(side.descriptors, side.encoding, None if full else one[:, None, None, :])
        for side, one, full in zip((first, second), there, whole, strict=True)
    ]
    mask = None if all(whole) else (there[0][:, :, None] & there[1][:, None, :])[:, None]
    crossed: tuple[Tensor, Tensor] = layer.cross_attn(*own, mask)
    return crossed


def _sure(net: Network, number: int, first: _Side, second: _Side) -> tuple[Tensor, Tensor]:
    """How sure the network is of its present view of each keypoint, [b, k] of either photo."""
    found: tuple[Tensor, Tensor] = net.token_confidence[number](first.descriptors, second.descriptors)
    return found


def _ended(
    net: Network,
    number: int,
    first: _Side,
    second: _Side,
    sure: tuple[Tensor, Tensor] | None,
    points: Tensor,
    *,
    last: bool,
) -> Tensor:
    """Which pairs stop at this layer, bool [b]: of enough keypoints the network is sure (those that were
    pruned count as such).
    """
    if last or sure is None:
        return torch.full_like(points, last, dtype=torch.bool)
    limit = net.confidence_thresholds[number]
    unsure = [
        ((one < limit) & side.there).sum(dim=1) for one, side in zip(sure, (first, second), strict=True)
    ]
    ended: Tensor = 1.0 - (unsure[0] + unsure[1]).float() / points > net.conf.depth_confidence
    return ended


def _pruned(net: Network, number: int, side: _Side, sure: Tensor | None) -> _Side:
    """Without keypoints that surely match nothing, of photos that have enough of them."""
    if net.conf.width_confidence <= 0:
        return side
    kept = net.log_assignment[number].get_matchability(side.descriptors) > 1 - net.conf.width_confidence
    if sure is not None:
        kept |= sure[:, : kept.shape[1]] <= net.confidence_thresholds[number]
    kept |= (side.counts <= net.pruning_min_kpts(side.counts.device))[:, None]
    return side.keep(kept & side.there)


def _assigned(net: Network, number: int, first: _Side, second: _Side, row: int) -> Matches:
    """The matches of one pair."""
    own = [side.descriptors[row : row + 1, : int(side.counts[row])] for side in (first, second)]
    scores, _ = net.log_assignment[number](*own)
    partner, _, sure, _ = filter_matches(scores, 0.0)
    places = torch.nonzero(partner[0] >= 0)[:, 0]
    numbers = [first.numbers[row][places], second.numbers[row][partner[0][places]]]
    return Matches(torch.stack(numbers, dim=1), sure[0][places])
