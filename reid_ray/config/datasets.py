"""Where photos come from: one class per kind of source, distinguished by `source`."""

import datetime
import re
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints, field_validator, model_validator

from reid_ray.config.base import Config

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A name that is safe in file names, metric names and URLs."""


Year = Annotated[int, Field(ge=1800, le=2200)]
Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
"""A day as 2023-05-01."""


Crop = Literal["full", "bbox", "mask"]


class EncounterFrom(Config):
    """Read off which encounter a photo belongs to, where no column says it.

    Photos of one encounter share background, light and posture; figures without references of the
    query's own encounter are shown beside those with all references.
    """

    column: str = "path"
    """Column that is searched, for example `path` or `date`."""
    pattern: str
    r"""Regular expression whose one group is the encounter, for example `(\d+)_[^/]*$`."""

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if groups != 1:
            raise ValueError(f"has {groups} groups in brackets; expected exactly one")
        return pattern


class SideFrom(EncounterFrom):
    """Read off which side of the animal a photo shows, where no column says it."""

    pattern: str
    r"""Regular expression whose one group is the side, for example `_(left|right)photo`; the usual words
    and letters for left, right, front, back, top and bottom are understood."""


class Detections(Config):
    """A detector's results for photos of one animal each: only the animal is looked at."""

    file: str
    """MegaDetector's or SpeciesNet's JSON, relative to `root` unless absolute; MegaDetector's own format
    (shares of the photo), the list that the `megadetector` command writes (corners in pixels) and
    SpeciesNet's `predictions.json` are distinguished."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.2
    several: Literal["best", "all"] = "best"
    """`best`: the surest box of each photo; `all`: each box of a photo of unknown animals becomes a
    photo of its own (a named photo keeps its best: its name fits one animal)."""
    without: Literal["whole", "quarantine"] = "whole"
    """A photo without an animal box is taken whole, or quarantined."""


class _Dataset(Config):
    name: Name
    group: Name | None = None
    """Species group that decides seen or unseen (for example `cattle`); default: the name."""

    @property
    def domain_group(self) -> str:
        return self.group or self.name


class SyntheticDataset(_Dataset):
    """A procedural collection: no download, deterministic from its seed."""

    source: Literal["synthetic"]
    species: Literal["zebra", "leopard", "giraffe", "whale", "ringed_seal"]
    """Kind of coat: stripes, rosettes, polygons, blotches with scars, rings."""
    identities: Annotated[int, Field(ge=2, le=10_000)] = 16
    photos: Annotated[int, Field(ge=2, le=1_000)] = 10
    """Photos per identity, on average; the real number varies as in the field."""
    size_px: Annotated[int, Field(ge=64, le=1024)] = 192
    """Shorter side of a photo."""
    seed: int = 0
    repeated: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of photos that are there once more, as from a burst: brightened a little, encoded anew. A
    fault of many collections, put in on purpose to see that it is found."""
    together: Annotated[int, Field(ge=1, le=100)] = 1
    """Photos of an encounter: they share place, weather, light and day, so that a background may give an
    animal away."""


class _Photos(_Dataset):
    """Photos that are there already."""

    root: str
    """A folder, or a URI such as s3://bucket/photos."""
    encounter_from: EncounterFrom | None = None
    """Takes the place of the source's own `encounter`."""
    side_from: SideFrom | None = None
    """Takes the place of the source's own `orientation`, the side that a photo shows."""
    detections: Detections | None = None
    crop: Crop | None = None
    """Instead of `images.crop`, for this collection."""
    keypoints: Literal["all", "box", "mask"] = "all"
    """Which keypoints local features match: `all`; `box`: those in the animal's box (column `bbox`); `mask`:
    those on the animal (columns `mask` or `segmentation`, else its box). Unlike `crop` it leaves the photo
    whole, so that what is seen at the rim keeps its surroundings. A photo without is matched whole."""
    follow_links: bool = False
    """Enter and read what links lead to, also out of `root`; by default they are not followed."""


class FolderDataset(_Photos):
    """One folder per identity below `root`; photos directly or deeper inside."""

    source: Literal["folder"]
    level: Annotated[int, Field(ge=1, le=20)] = 1
    """Which folder on the way to a photo names the animal: 2 for `2021/leo/1.jpg`."""
    only: tuple[str, ...] = ()
    """These files alone, relative to `root`; default: all photos."""


class ColumnNames(Config):
    """What the table calls its columns (wildlife-datasets' names by default)."""

    image_id: str = "image_id"
    """Empty: ids are made of the paths."""
    identity: str = "identity"
    """Empty: the table names nobody, all animals are unknown."""
    path: str = "path"
    split: str = "split"
    bbox: str = "bbox"
    date: str = "date"
    orientation: str = "orientation"
    """The side that is seen; also called viewpoint."""
    species: str = "species"
    encounter: str = "encounter"
    location: str = "location"
    folder: str = ""
    """Column with the photo's folder, which goes before `path`, as in Timelapse's `RelativePath`."""
    bbox_sides: tuple[str, str, str, str] | None = None
    """Four columns with the box, where no single one has it."""
    bbox_kind: Literal["xywh", "xyxy"] = "xywh"
    """Whether boxes are x, y, width, height, or two opposite corners."""

    @property
    def single(self) -> dict[str, str]:
        """Our column -> the table's, where one has all of it; those that are not there are left out."""
        given = self.model_dump(exclude={"folder", "bbox_sides", "bbox_kind"})
        return {ours: theirs for ours, theirs in given.items() if theirs}


class TableDataset(_Photos):
    """A table with a row per photo, paths relative to `root`; wildlife-datasets' columns by default."""

    source: Literal["table"]
    metadata: str = "metadata.csv"
    """The table, relative to `root` unless absolute; `.csv`, `.tsv`, `.xlsx` or `.parquet`."""
    sheet: str | None = None
    """Of a spreadsheet; default: the first."""
    columns: ColumnNames = ColumnNames()
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column -> cells; only rows that have one of them in each such column are read (`{split: [train]}`)."""
    group_by: str | None = None
    """Column with each photo's species group, for a collection of several (`species`, say); where it is
    empty, `group`. Characters that a name cannot have become `_`."""
    group_names: dict[str, Name] = Field(default_factory=dict)
    """Cell of that column -> group, to put several species into one (`Bos taurus: cattle`)."""

    @model_validator(mode="after")
    def _names_have_a_column(self) -> "TableDataset":
        if self.group_names and not self.group_by:
            raise ValueError("group_names says what cells mean, but group_by names no column")
        return self


class CocoDataset(_Photos):
    """COCO or COCO Camera Traps JSON: a photo per annotation, cropped to its box on request."""

    source: Literal["coco"]
    annotations: str = "annotations.json"
    """The JSON, relative to `root` unless absolute."""
    identity: str | None = None
    """The field that names the individual, of an annotation or else of its image; `category`: the
    category's name. None: the first of `individual_id`, `identity`, `individual`, `name` that is there."""


class WildbookDataset(_Photos):
    """A Wildbook bulk-import sheet: a row per encounter, whose media assets are its photos."""

    source: Literal["wildbook"]
    metadata: str = "metadata.xlsx"
    """The sheet, relative to `root` unless absolute; `.xlsx`, `.csv`, `.tsv` or `.parquet`."""
    sheet: str | None = None
    """Of a spreadsheet; default: the first."""


class CamtrapDataset(_Photos):
    """A Camtrap DP package: `media.csv` joined with `observations.csv` and `deployments.csv`."""

    source: Literal["camtrap_dp"]
    package: str = "datapackage.json"
    """Names the three tables, relative to `root`; where it is not there, they go by their usual names."""


PhotoDataset = FolderDataset | TableDataset | CocoDataset | WildbookDataset | CamtrapDataset
Dataset = Annotated[SyntheticDataset | PhotoDataset, Field(discriminator="source")]


Action = Literal["drop", "report", "refuse"]
"""What is done with a leak: its queries are left out, only named, or the study stops."""


class OnLeak(Config):
    """What is done with each kind of leak; `on_leak: refuse` sets all of them."""

    same_file: Action = "drop"
    """A query is, byte for byte, a reference photo."""
    near_duplicate: Action | Literal["off"] = "report"
    """A query is a reference photo once more: scaled, encoded anew, slightly cropped, brightened. `off`:
    this is not looked for."""
    same_encounter: Action = "report"
    """A query was taken in an encounter that references were taken in, too (column `encounter`)."""
    no_reference: Action = "drop"
    """A query's animal has no reference, so no answer can be right."""


class Split(Config):
    """How photos of one collection are divided into reference and query."""

    kind: Literal["closed_set", "open_set", "disjoint_set", "time_proportion", "time_cutoff", "given"] = (
        "closed_set"
    )
    """`closed_set`: the MegaDescriptor paper's, each animal on both sides; `open_set`: some animals
    are in queries alone; `disjoint_set`: no animal that is learnt from is asked for;
    `time_proportion`: each animal's first days are reference, its later ones query; `time_cutoff`:
    what was taken before a day is reference; `given`: the table's own split column."""
    seed: int = 666
    reference_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Of each animal's photos, or days (`time_proportion`)."""
    validation_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Share of the *reference* photos kept out of training to choose among models; never query."""
    unknown_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """`open_set`: share of the photos whose animals are in queries alone; default 0.2."""
    unknown_identities: PositiveInt | None = None
    """`open_set`: how many animals these are, instead of a share of photos."""
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """`disjoint_set`: share of the photos whose animals are not learnt from; default 0.5."""
    test_identities: PositiveInt | None = None
    """`disjoint_set`: how many animals these are, instead of a share of photos."""
    draw: Literal["own", "wildlife_datasets"] = "own"
    """`open_set`, `disjoint_set`: which animals are drawn. `own` comes nearest to the share and does not
    depend on the order of rows; `wildlife_datasets` draws those that the package of that name (1.0.8)
    draws with the same seed, and divides the others as it does."""
    cutoff: Year | Day | None = None
    """`time_cutoff`: the first day (or year) of queries; what is earlier is reference."""
    until: Year | Day | None = None
    """`time_cutoff`: the first day (or year) after the queries; default: queries have no end."""
    unknown_individuals: bool | None = None
    """Whether queries may show animals without a reference, for whom the right answer is nobody.
    Default: yes for `open_set` and `time_cutoff`; `given` may ask for it; no other kind can."""
    ask_unknown: bool = False
    """Also ask for photos of `unknown` animals, as new ones: right only where it is certain that
    none of these animals is among the references."""
    on_leak: Action | OnLeak = OnLeak()

    @property
    def days(self) -> tuple[datetime.date, datetime.date]:
        """`time_cutoff`: the first day of queries, and the first after them."""
        until = datetime.date.max if self.until is None else _first_day(self.until)
        return _first_day(self.cutoff or 1), until

    @property
    def opens(self) -> bool:
        """Whether animals without a reference stay in the queries."""
        if self.unknown_individuals is None:
            return self.kind in ("open_set", "time_cutoff")
        return self.unknown_individuals

    @property
    def leak_actions(self) -> OnLeak:
        """What is done with each kind of leak."""
        if isinstance(self.on_leak, OnLeak):
            return self.on_leak
        return OnLeak(**dict.fromkeys(OnLeak.model_fields, self.on_leak))

    @model_validator(mode="after")
    def _settings_are_of_the_kind(self) -> "Split":
        for name, kind in _OF_KIND.items():
            if getattr(self, name) is not None and self.kind != kind:
                raise ValueError(f"{name} is a setting of kind {kind}, not of {self.kind}")
        if self.draw != "own" and self.kind not in ("open_set", "disjoint_set"):
            raise ValueError(f"draw is a setting of kinds open_set and disjoint_set, not of {self.kind}")
        for share, count in (("unknown_share", "unknown_identities"), ("test_share", "test_identities")):
            if getattr(self, share) is not None and getattr(self, count) is not None:
                raise ValueError(f"give {share} or {count}, not both")
        if self.kind == "time_cutoff":
            if self.cutoff is None:
                raise ValueError("kind time_cutoff needs cutoff, a year or a day (2023-05-01)")
            if self.days[1] <= self.days[0]:
                raise ValueError(f"until is {self.until}, expected later than {self.cutoff}")
        if self.unknown_individuals and self.kind in ("closed_set", "disjoint_set", "time_proportion"):
            raise ValueError(
                f"unknown_individuals: kind {self.kind} has none; use open_set, time_cutoff or given"
            )
        if self.ask_unknown and not self.opens:
            raise ValueError(
                "ask_unknown needs a split with unknown individuals: open_set, time_cutoff, or given "
                "with unknown_individuals: true"
            )
        return self


def _first_day(when: int | str) -> datetime.date:
    if isinstance(when, int):
        return datetime.date(when, 1, 1)
    return datetime.date.fromisoformat(when)


_OF_KIND = {
    "unknown_share": "open_set",
    "unknown_identities": "open_set",
    "test_share": "disjoint_set",
    "test_identities": "disjoint_set",
    "cutoff": "time_cutoff",
    "until": "time_cutoff",
}


class Images(Config):
    """How photos are prepared, once, for every method."""

    short_px: Annotated[int, Field(ge=32, le=2048)] = 256
    """Shorter side after preparation (the paper's 256)."""
    enlarge: bool = True
    """Whether smaller photos are enlarged to that, as the paper does. With `false` they keep their own size,
    and `short_px` is but a cap: with a large one, local features come from each photo's own pixels."""
    crop: Crop = "full"
    """What is looked at: the whole photo; the animal's box (column `bbox`); or the animal alone (columns
    `mask` or `segmentation`): the rest is black, and no keypoint there is matched. A photo without is taken
    whole. A collection may have a `crop` of its own."""
    max_pixels: PositiveInt = 100_000_000
    """A photo with more is quarantined as a decompression bomb."""
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The run stops only if more than this share of a collection's photos is unusable."""


class Data(Config):
    """Collections, what is unseen, and how they are split and prepared."""

    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1)]
    unseen: tuple[Name, ...] = ()
    """Groups never trained on; their reference photos serve only to be searched."""
    split: Split = Split()
    images: Images = Images()
    background: Literal["mask", "bbox", "off"] = "mask"
    """Whether to look if the background alone tells who it is: in photos with a mask of the animal
    (column `mask` or `segmentation`), in those with a box too, or not."""
    share: tuple[str, ...] = ()
    """Further columns of the sources that the study's table of photos keeps, which MLflow is given:
    `location`, or coordinates. Whoever may read the study may read them."""
    missing: Literal["refuse", "leave_out"] = "refuse"
    """A dataset whose folder is not there: an error, or told and left out."""

    @model_validator(mode="after")
    def _names_agree(self) -> "Data":
        names = [dataset.name for dataset in self.datasets]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"dataset names must differ, found twice: {twice}")
        groups = {dataset.domain_group for dataset in self.datasets}
        if self.groups_by_photo:
            return self  # The groups are known only once the tables are read.
        if missing := sorted(set(self.unseen) - groups):
            raise ValueError(f"unseen names no group of a dataset: {missing}; groups are {sorted(groups)}")
        boxed = [
            d.name
            for d in self.datasets
            if isinstance(d, _Photos)
            and d.detections
            and (d.crop or self.images.crop) != "bbox"
            and d.keypoints == "all"
        ]
        if boxed:
            raise ValueError(
                f"detections of {boxed} would have no effect: set images.crop to bbox, or keypoints to box"
            )
        if groups == set(self.unseen):
            raise ValueError(f"every group is unseen ({sorted(groups)}), so there is nothing to train on")
        return self

    @property
    def groups_by_photo(self) -> bool:
        """Whether some table says the group of each photo."""
        return any(isinstance(dataset, TableDataset) and dataset.group_by for dataset in self.datasets)
