"""The paper's two losses on the global batch, from pytorch-metric-learning.

In: embeddings [n, d] and labels [n] of the whole batch. Out: a scalar. Both are those of the paper's authors
(wildlife-tools 0.0.9), but for ArcFace's margin: there a radian has 57.3 degrees, here it is exact, so that a
margin of 0.5 there is 0.500037 here, and losses differ by less than 5e-5 of their value.
"""

import math

from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ArcFaceLoss, TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import Tensor, nn

from reid_ray.config.training import ArcFace, Loss, Triplet

MINERS = {"all": "all", "semi": "semihard", "hard": "hard"}
"""Our names of the mining strategies -> pytorch-metric-learning's."""
POWERS = {"l2_squared": 2, "l2": 1}


class ArcFaceHead(nn.Module):
    """Additive angular margin (Deng et al. 2019, eq. 3) with learned class centres.

    The centres are parameters of this module, so that DDP keeps them in step with the backbone.
    """

    def __init__(self, config: ArcFace, *, classes: int, dims: int) -> None:
        super().__init__()
        # The library wants degrees, the paper and our configs give radians.
        margin_deg = math.degrees(config.margin_rad)
        self.loss = ArcFaceLoss(classes, dims, margin=margin_deg, scale=config.scale)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = self.loss(embeddings, labels)
        return value


class TripletHead(nn.Module):
    """Mean hinge over mined triplets of unit vectors (Schroff et al. 2015), without parameters.

    With d_ap and d_an the distances of anchor to positive and to negative, squared unless the config says
    otherwise: `all` takes every triplet with d_an - d_ap <= margin, `semi` those of them with d_an > d_ap,
    `hard` those with d_an <= d_ap.
    """

    def __init__(self, config: Triplet) -> None:
        super().__init__()
        distance = LpDistance(normalize_embeddings=True, p=2, power=POWERS[config.distance])
        kind = MINERS[config.mining]
        self.miner = TripletMarginMiner(distance=distance, margin=config.margin, type_of_triplets=kind)
        self.loss = TripletMarginLoss(distance=distance, margin=config.margin)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return value


def make_head(loss: Loss, *, classes: int, dims: int) -> nn.Module:
    """The loss as a module; `classes` identities, `dims` of an embedding."""
    if isinstance(loss, ArcFace):
        return ArcFaceHead(loss, classes=classes, dims=dims)
    return TripletHead(loss)
