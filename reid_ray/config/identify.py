"""`python -m reid_ray.identify`'s config: known animals, photos to be named, and what looks at them."""

import os
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Images, Name, PhotoDataset
from reid_ray.config.fusion import VLAD, refuse_unlearnt_places
from reid_ray.config.matching import WEIGHTS, Disk, Matching, Sift
from reid_ray.config.models import Pretrained

LOCAL = {
    "sift": Matching(name="SIFT"),
    "rootsift": Matching(name="RootSIFT", extractor=Sift(root=True), mutual=True),
    "lnbnn": Matching(
        name="LNBNN", extractor=Sift(root=True), score="lnbnn", place_weights="auto", viewpoint="prefer"
    ),
    "disk": Matching(
        name="DISK",
        extractor=Disk(kind="disk", weights=os.environ.get(WEIGHTS, "weights")),
        score="lnbnn",
        place_weights="auto",
        viewpoint="prefer",
    ),
}
"""Local-feature methods by short name."""
ShortName = Literal["sift", "rootsift", "lnbnn", "disk"]


class IdentifyRun(Config):
    """Who is in the query photos."""

    name: Name = "identified"
    reference: PhotoDataset = Field(discriminator="source")
    """Photos of known animals."""
    more_references: tuple[Annotated[PhotoDataset, Field(discriminator="source")], ...] = ()
    """Further ones, such as those that people confirmed; an animal of the same name is the same."""
    query: PhotoDataset = Field(discriminator="source")
    """Photos to be named; names that they have already serve only to count right answers."""
    images: Images = Images()
    method: str | None = None
    """Folder of a saved method: a study's `selected`. It is used with all that the study chose and fitted."""
    collection: str | None = None
    """Which of the study's collections these photos are, for networks that were trained on each by itself;
    omit where the references are the study's own."""
    model: Pretrained | None = None
    """An embedding model, by a known name or as in a study's `baselines.pretrained`."""
    local: ShortName | tuple[Matching | ShortName, ...] | Matching | None = None
    """Local features, one kind or several; the evidence of several, and of a model beside them, is joined.
    `disk` needs published weights (`python -m reid_ray.weights get disk`)."""
    candidates: Annotated[int, Field(ge=1, le=50)] = 5
    """Animals listed per query."""
    unknown_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of queries expected to show an animal that is not among the references. It is the prior
    of the probabilities: the larger it is, the sooner an answer is `unknown`."""
    leave_one_out_queries: PositiveInt = 300
    """Leave-one-out queries, made of reference photos, to learn how much a score is worth."""
    per_encounter: bool = True
    """Photos of one encounter (column `encounter`, or `encounter_from`) show one animal, so they get
    one answer, from what all of them show. Not where one file stands in two rows of an encounter, as
    two boxes do."""
    cluster_unknown: bool = False
    """Group the photos of unknown animals by animal."""
    drawn: NonNegativeInt = 1
    """Candidates per query whose matched keypoints are drawn, where local features are used."""
    keep_cards: bool = False
    """Also write what the pages show as data, from which a review server makes pages with forms."""
    storage: str = "runs"
    """Folder of decoded photos, vectors and features; on a cluster one that all nodes share, or s3://..."""
    out: str = "identified"
    """Answers go to a folder named like the run below this one."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _something_looks(self) -> "IdentifyRun":
        if self.method is not None and (self.model is not None or self.local is not None):
            raise ValueError("method is a whole method; remove model and local, or give these alone")
        if self.method is None and self.model is None and not self.matchings():
            raise ValueError("none of method, model and local is given; give one, for example local: lnbnn")
        features = self.matchings()
        for one in (one for one in features if one.shortlist):
            if len(features) > 1:
                raise ValueError("a shortlist of local works with one kind of local features; give one alone")
            assert one.shortlist is not None
            by, model = one.shortlist.by, [self.model.name] if self.model else []
            if by not in (VLAD, *LOCAL, *model):
                lists = ", ".join([VLAD, *LOCAL])
                raise ValueError(f"local.shortlist.by is {by!r}; give {lists}, or the name of model")
            refuse_unlearnt_places(one, LOCAL)
        parts = [one.name for one in features] + ([self.model.name] if self.model else [])
        if twice := sorted({name for name in parts if parts.count(name) > 1}):
            raise ValueError(f"two of model and local are named {twice[0]!r}; give each once, or rename one")
        names = [dataset.name for dataset in (self.query, *self.references)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of reference and query are named {twice[0]!r}; rename one")
        return self

    @property
    def references(self) -> tuple[PhotoDataset, ...]:
        """All collections of known animals."""
        return (self.reference, *self.more_references)

    def data(self) -> Data:
        """All collections as one table."""
        return Data(datasets=(*self.references, self.query), images=self.images)

    def matchings(self) -> tuple[Matching, ...]:
        """The local-feature methods in full."""
        given = self.local if isinstance(self.local, tuple) else (self.local,)
        return tuple(LOCAL[one] if isinstance(one, str) else one for one in given if one is not None)
