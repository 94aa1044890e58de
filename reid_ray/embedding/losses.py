"""The paper's two losses on the global batch.

In: embeddings [n, d] and labels [n] of the whole batch. Out: a scalar. Both are those of the paper's authors
(wildlife-tools 0.0.9, by pytorch-metric-learning), but for ArcFace's margin: there a radian has 57.3 degrees,
here it is exact, so that a margin of 0.5 there is 0.500037 here, and losses differ by less than 5e-5 of their
value. No shape depends on values, for which a card would have to wait.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from reid_ray.config.training import ArcFace, Loss, Triplet

_AT_ONCE = 2**24
"""Triplets that are compared at once, some 100 MiB."""


class ArcFaceHead(nn.Module):
    """Additive angular margin (Deng et al. 2019, eq. 3) with learned class centres.

    The centres are parameters of this module, so that DDP keeps them in step with the backbone.
    """

    def __init__(self, config: ArcFace, *, classes: int, dims: int) -> None:
        super().__init__()
        self.margin_rad, self.scale = config.margin_rad, config.scale
        self.centres = nn.Parameter(torch.empty(dims, classes))
        nn.init.normal_(self.centres)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosines, own = normalize(embeddings) @ normalize(self.centres, dim=0), labels[:, None]
        cosine = cosines.gather(1, own)
        angle = torch.acos(cosine.clamp(-1, 1))
        # Beyond pi - m the cosine of the sum would rise again.
        beyond = cosine - self.margin_rad * math.sin(self.margin_rad)
        near = angle <= math.pi - self.margin_rad
        marked = torch.where(near, torch.cos(angle + self.margin_rad), beyond)
        return cross_entropy(self.scale * cosines.scatter(1, own, marked), labels)


class TripletHead(nn.Module):
    """Mean hinge over mined triplets of unit vectors (Schroff et al. 2015), without parameters.

    With d_ap and d_an the distances of anchor to positive and to negative, squared unless the config says
    otherwise: `all` takes every triplet with d_an - d_ap < margin, `semi` those of them with d_an > d_ap,
    `hard` those with d_an <= d_ap.
    """

    def __init__(self, config: Triplet) -> None:
        super().__init__()
        self.mining, self.margin, self.squared = config.mining, config.margin, config.distance == "l2_squared"

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        units = normalize(embeddings)
        distances = torch.cdist(units, units)
        if self.squared:
            distances = distances.square()
        # The sum of d_ap - d_an over triplets is one of distances, each as often as it is in a triplet.
        weights, mined = [], distances.new_zeros(())
        everyone = torch.arange(len(labels), device=labels.device)
        at_once = max(1, _AT_ONCE // len(labels) ** 2)
        for start in range(0, len(labels), at_once):
            anchors = everyone[start : start + at_once]
            triplets = self.mine(distances.detach(), labels, anchors)
            weights.append(triplets.sum(2) - triplets.sum(1))
            mined += triplets.sum()
        hinge = (torch.cat(weights) / mined.clamp(min=1) * distances).sum()
        return hinge + self.margin * mined.clamp(max=1)

    def mine(self, distances: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
        """Which triplets of these anchors have a loss, bool [anchors, positives, negatives]."""
        same = labels[anchors, None] == labels
        positive = same & (anchors[:, None] != torch.arange(len(labels), device=labels.device))
        further = distances[anchors, None, :] - distances[anchors, :, None]
        mined = (further < self.margin) & positive[:, :, None] & ~same[:, None, :]
        if self.mining == "all":
            return mined
        return mined & (further > 0 if self.mining == "semi" else further <= 0)


def make_head(loss: Loss, *, classes: int, dims: int) -> nn.Module:
    """The loss as a module; `classes` identities, `dims` of an embedding."""
    if isinstance(loss, ArcFace):
        return ArcFaceHead(loss, classes=classes, dims=dims)
    return TripletHead(loss)
