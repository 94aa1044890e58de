"""Settings of one local-feature method."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag, model_validator

from reid_ray.config.base import Config
from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.datasets import Name

WEIGHTS = "WEIGHTS"
"""Environment variable: the folder of published weights, which configs name too; default `weights`."""


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


class Disk(Config):
    """DISK (Tyszkiewicz et al. 2020) with the user's own weights file."""

    kind: Literal["disk"]
    weights: str
    nms_px: PositiveInt = 2
    """A keypoint is the only highest one within so many pixels in x and y."""
    threshold: float = 0.0
    """Least value of the network's heat map."""
    max_keypoints: PositiveInt | None = None


class Aliked(Config):
    """ALIKED (Zhao et al. 2023) with the user's own weights file."""

    kind: Literal["aliked"]
    weights: str
    model: Literal["aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32"] = "aliked-n16"
    nms_px: PositiveInt = 2
    threshold: PositiveFloat = 0.2
    """Least score; a photo with none above it keeps those above its own mean."""
    max_keypoints: PositiveInt | None = None


class XFeat(Config):
    """XFeat (Potje et al. 2024) with the user's own weights file: small and fast, 64 numbers a keypoint."""

    kind: Literal["xfeat"]
    weights: str
    threshold: PositiveFloat = 0.05
    """Value of the heat map that a keypoint exceeds."""
    max_keypoints: PositiveInt | None = 4096


class Cells(Config):
    """Grey cells of 8 x 8 pixels instead of keypoints, for LoFTR, which looks at whole photos."""

    kind: Literal["cells"]
    max_keypoints: None = None


Extractor = Annotated[Sift | SuperPoint | Disk | Aliked | XFeat | Cells, Field(discriminator="kind")]
Distance = Literal["squared", "plain"]


Geometry = Literal["affine", "homography", "fundamental"]
UNLISTED = 20
"""Candidates that are looked at again where neither a number nor a shortlist is given."""


class CloserLook(Config):
    """What all ways to look at the best candidates again have in common."""

    candidates: PositiveInt | None = None
    """How many; none: the whole shortlist, and 20 where there is none."""
    reprojection_px: PositiveFloat = 8.0
    """How far matches may lie from where the transform puts them (from their epipolar line)."""


class Verify(CloserLook):
    """Look at the best candidates again: how many matches agree on one geometric transform."""

    model: Geometry = "affine"
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Ratio of squared distances below which a match is offered to the transform; none: the one that
    `count` chose on the references (0.5 for `lnbnn`, which has none). Looser ones let in wrong matches
    that agree by chance."""


class LightGlue(CloserLook):
    """Look at the best candidates again: how many matches LightGlue (Lindenberger et al. 2023; for XFeat
    LighterGlue) accepts, and a geometric transform agrees with. A network looks at each pair, thousands of
    times slower than the ratio test. It puts a whole shortlist in order by itself: nothing is scored before.
    """

    model: Literal["lightglue"]
    weights: str
    """LightGlue's file for the same kind of features, or a folder that has it; published ones for other kinds
    are refused."""
    geometry: Geometry | Literal["off"] = "off"
    """The transform (MAGSAC) whose matches alone count; `off`: all that the network accepts, as an animal
    bends and one transform leaves right matches out."""
    least_score: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Matches that the network is less sure of do not count."""


class LoFTR(CloserLook):
    """Look at a shortlist again: how many cells of 8 x 8 pixels LoFTR (Sun et al. 2021) matches, and a
    geometric transform agrees with. It needs both photos, not features: the extractor is `cells`.
    """

    model: Literal["loftr"]
    weights: str
    """LoFTR's outdoor file, or a folder that has it."""
    candidates: None = None
    geometry: Geometry | Literal["off"] = "off"
    """The transform (MAGSAC) whose matches alone count; `off`: all that the network accepts, as an animal
    bends and one transform leaves right matches out."""
    least_score: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Matches that the network is less sure of do not count."""


NETWORKS = (LightGlue, LoFTR)
"""Closer looks by a network at each pair."""


def _looks_again(raw: object) -> str:
    model = raw.get("model") if isinstance(raw, dict) else getattr(raw, "model", None)
    return model if model in ("lightglue", "loftr") else "geometry"


SecondLook = Annotated[
    Annotated[Verify, Tag("geometry")]
    | Annotated[LightGlue, Tag("lightglue")]
    | Annotated[LoFTR, Tag("loftr")],
    Discriminator(_looks_again),
]
LIGHTGLUE_KINDS = ("superpoint", "disk", "aliked", "sift", "xfeat")
"""Extractors that LightGlue's published weights were trained for; of SIFT they know RootSIFT."""


class Shortlist(Config):
    """Match only the references that another method puts first: queries x `size` pairs, not all."""

    by: Annotated[str, Field(min_length=1)]
    """The name of any other method of the run: a pretrained model, local features, a fusion;
    `selected_trial`: the selected trial; `<backbone> untrained`; or `vlad`: a global descriptor of the local
    features themselves, without a network."""
    size: PositiveInt = 100
    """References matched per query; the others follow them in that method's order."""


class MatchedShortlist(Shortlist):
    """The shortlist of a local-feature method, with what it costs in accuracy."""

    curve: Literal["none", "size", "all"] = "size"
    """Lengths at which accuracy is measured: up to `size`, or up to all references, for which all
    pairs are matched. Scores that depend on the other references (`lnbnn`, `per_identity`,
    `verify`) are made anew for each length, about twice the work."""


class Matching(CandidateSets):
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
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.45,
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
    )
    """`count`: ratios of *squared* L2 distances to choose from. Whatever is chosen, is chosen
    leave-one-out on the reference set alone."""
    neighbours: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3, 5, 10, 20)
    """`lnbnn`: numbers of votes per descriptor to choose from."""
    distances: Annotated[tuple[Distance, ...], Field(min_length=1)] = ("squared", "plain")
    """`lnbnn`: kinds of distance to choose from."""
    alternatives: tuple[Extractor, ...] = ()
    """Other extractors to choose from; of equally good ones `extractor`, then the first."""
    leave_one_out_queries: PositiveInt = 1000
    """Leave-one-out queries, made of reference photos, to choose with, drawn at random where there are
    more."""
    mutual: bool = False
    """Count a match only if it is the best in both directions."""
    direction: Literal["reference_to_query", "query_to_reference"] = "reference_to_query"
    """Whose descriptors look for their nearest two: the reference's, among the query's (as the
    paper's wildlife-tools did), or the query's, among the reference's."""
    per_identity: bool = False
    """Sum the scores of an identity's photos (`count`), or let only its nearest vote (`lnbnn`)."""
    normalised: bool = False
    """`count`: divide by the square root of the query's times the reference's keypoints, so that
    photos with much texture do not attract answers."""
    verify: SecondLook | None = None
    """Put the best candidates in order again by a closer look."""
    shortlist: MatchedShortlist | None = None
    """None: every reference is matched."""
    exclude_same_encounter: bool = False
    """Leave out references of the query's own encounter (column `encounter`): same background."""
    place_weights: Literal["auto", "off"] = "off"
    """`auto`: votes count by the place in the photo that they come from, as it is learnt on the references
    alone, where that names more of them, asked among other encounters; otherwise all count alike, and it is
    said why. Right flanks are mirrored where the side is known (column `orientation`). Behind a shortlist
    they are those that the shortlist's method has learnt."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _lightglue_knows_the_features(self) -> "Matching":
        if not isinstance(self.verify, LightGlue):
            return self
        for extractor in (self.extractor, *self.alternatives):
            small = isinstance(extractor, Aliked) and extractor.model == "aliked-t16"
            if extractor.kind not in LIGHTGLUE_KINDS or small:
                found = "aliked-t16" if small else extractor.kind
                raise ValueError(
                    f"verify by lightglue cannot match {found} features; its weights are for "
                    f"{', '.join(LIGHTGLUE_KINDS)} (not aliked-t16)"
                )
            if isinstance(extractor, Sift) and not extractor.root:
                raise ValueError(
                    "verify by lightglue cannot match plain SIFT features; its weights are for RootSIFT, set "
                    "root: true of the extractor"
                )
        if any(other.kind != self.extractor.kind for other in self.alternatives):
            raise ValueError("verify by lightglue needs one kind of extractor in alternatives")
        return self

    @model_validator(mode="after")
    def _loftr_has_photos_to_look_at(self) -> "Matching":
        cells = [isinstance(one, Cells) for one in (self.extractor, *self.alternatives)]
        if any(cells) != isinstance(self.verify, LoFTR) or any(cells) != all(cells):
            raise ValueError(
                "LoFTR matches cells of whole photos, and nothing else does; give extractor: {kind: cells} "
                "and verify: {model: loftr, weights: ...} together, or neither"
            )
        if isinstance(self.verify, LoFTR) and self.shortlist is None:
            raise ValueError(
                "LoFTR has no descriptors to score photos by before it looks at them; give a shortlist, for "
                "example by a pretrained model or by local features of this run"
            )
        return self

    @model_validator(mode="after")
    def _alternatives_can_be_told_apart(self) -> "Matching":
        if self.alternatives and not self.scores_first:
            raise ValueError(
                "alternatives are compared by what is scored before the closer look, and a network that "
                "looks at the whole shortlist scores nothing before; remove alternatives, or set "
                "verify.candidates"
            )
        return self

    @property
    def scores_first(self) -> bool:
        """Whether anything is scored before the closer look; equal matches else rank in the list's order."""
        whole = self.shortlist is not None and isinstance(self.verify, NETWORKS)
        return not whole or (self.verify is not None and self.verify.candidates is not None)

    @property
    def pairwise(self) -> bool:
        """Whether the score of two photos is the same whatever other references there are."""
        return self.score == "count" and not self.per_identity and self.verify is None
