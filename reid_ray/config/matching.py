"""Settings of one local-feature method."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from reid_ray.config.base import Config
from reid_ray.config.datasets import Name


class Sift(Config):
    """OpenCV's SIFT; defaults are OpenCV's and the paper's."""

    kind: Literal["sift"] = "sift"
    contrast_threshold: PositiveFloat = 0.04
    root: bool = False
    """RootSIFT (Arandjelovic and Zisserman 2012): L1-normalise, then square root."""
    max_keypoints: PositiveInt | None = None
    """Keep the strongest by response; none: keep all."""


class SuperPoint(Config):
    """SuperPoint (DeTone et al. 2018) with the user's own weights file."""

    kind: Literal["superpoint"]
    weights: str
    nms_px: PositiveInt = 4
    threshold: PositiveFloat = 0.005
    border_px: PositiveInt = 4
    max_keypoints: PositiveInt | None = None


Extractor = Annotated[Sift | SuperPoint, Field(discriminator="kind")]
Distance = Literal["squared", "plain"]


class Verify(Config):
    """Look at the best candidates again: how many matches agree on one geometric transform."""

    candidates: PositiveInt = 20
    model: Literal["homography", "affine"] = "affine"
    reprojection_px: PositiveFloat = 8.0
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Ratio of squared distances below which a match is offered to the transform."""


class Shortlist(Config):
    """Match only the references that an embedding puts first: queries x `size` pairs, not all."""

    by: Annotated[str, Field(min_length=1)]
    """`winner`: the chosen trial; the name of a pre-trained model; `<backbone> untrained`; or
    `vlad`: a global descriptor of the local features themselves, without a network."""
    size: PositiveInt = 100
    """References matched per query; the others follow them in the embedding's order."""


class MatchedShortlist(Shortlist):
    """The shortlist of a local-feature method, with what it costs in accuracy."""

    curve: Literal["none", "size", "all"] = "size"
    """Lengths at which accuracy is measured: up to `size`, or up to all references, for which all
    pairs are matched. Scores that depend on the other references (`lnbnn`, `per_identity`,
    `verify`) are made anew for each length, about twice the work."""


class Matching(Config):
    """Compare local features of photos; the reference photo with the highest score names the
    animal.
    """

    name: Name = "SIFT"
    extractor: Extractor = Sift()
    short_px: PositiveInt | None = None
    """Shorter side of the image that features are taken from; none: as prepared."""
    score: Literal["count", "lnbnn"] = "count"
    """`count`: descriptors that pass the ratio test; `lnbnn`: local naive-Bayes votes."""
    thresholds: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    )  # fmt: skip
    """`count`: ratios of *squared* L2 distances to choose from. Whatever is chosen, is chosen
    leave-one-out on the reference set alone."""
    neighbours: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3, 5, 10, 20)
    """`lnbnn`: numbers of votes per descriptor to choose from."""
    distances: Annotated[tuple[Distance, ...], Field(min_length=1)] = ("squared", "plain")
    """`lnbnn`: kinds of distance to choose from."""
    alternatives: tuple[Extractor, ...] = ()
    """Other extractors to choose from; of equally good ones `extractor`, then the first."""
    tuning_lookups: PositiveInt = 1000
    """References looked up to choose, drawn at random where there are more."""
    mutual: bool = False
    """Count a match only if it is the best in both directions."""
    direction: Literal["reference_to_query", "query_to_reference"] = "reference_to_query"
    """Whose descriptors look for their nearest two: the reference's, among the query's (as the
    paper's wildlife-tools did), or the query's, among the reference's."""
    per_identity: bool = False
    """Sum the scores of an identity's photos (`count`), or let only its nearest vote (`lnbnn`)."""
    verify: Verify | None = None
    shortlist: MatchedShortlist | None = None
    """None: every reference is matched."""
    exclude_same_encounter: bool = False
    """Leave out references of the query's own encounter (column `encounter`): same background."""
    seed: NonNegativeInt = 0

    @property
    def pairwise(self) -> bool:
        """Whether the score of two photos is the same whatever other references there are."""
        return self.score == "count" and not self.per_identity and self.verify is None
