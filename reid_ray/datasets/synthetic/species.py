"""What each species is made of: body, coat, habitats, camera habits and names of its animals."""

from dataclasses import dataclass

import numpy as np

from reid_ray.datasets.synthetic import coats, plans
from reid_ray.datasets.synthetic.bodies import Plan
from reid_ray.datasets.synthetic.coats import Growth, Painter
from reid_ray.datasets.synthetic.photo import Camera
from reid_ray.datasets.synthetic.scene import Habitat


@dataclass(frozen=True)
class Species:
    """A species as the synthetic collections draw it.

    Attributes:
        number: part of every seed, so that species never share randomness.
        photo_aspect: width by height of a photo.
        sides_by_turn: both flanks are in every photo and `orientation` says which one is turned to
        the
            camera (a fluke); otherwise the animal shows one flank and looks that way.
    """

    number: int
    plan: Plan
    growth: Growth
    paint: Painter
    habitats: tuple[Habitat, ...]
    camera: Camera
    photo_aspect: float
    code: str
    names: tuple[str, ...]
    sides_by_turn: bool = False


_SWAHILI = (
    "Asali",
    "Baraka",
    "Chui",
    "Dalila",
    "Enzi",
    "Faraja",
    "Goma",
    "Habiba",
    "Imani",
    "Jabali",
    "Kito",
    "Lulu",
    "Malaika",
    "Nuru",
    "Ombeni",
    "Pendo",
    "Rehema",
    "Safari",
    "Tumaini",
    "Upendo",
    "Visiwa",
    "Wema",
    "Yusra",
    "Zawadi",
)
_SOUTHERN = (
    "Amara",
    "Bheki",
    "Chipo",
    "Dumisani",
    "Farai",
    "Gugu",
    "Hlengi",
    "Jabu",
    "Khaya",
    "Lindiwe",
    "Mandla",
    "Naledi",
    "Onika",
    "Phila",
    "Rudo",
    "Sipho",
    "Thandi",
    "Unathi",
    "Vuyo",
    "Xola",
    "Zodwa",
    "Tatenda",
    "Nandi",
    "Kagiso",
)
_SOMALI = (
    "Abdi",
    "Bisharo",
    "Caano",
    "Deeqa",
    "Ebla",
    "Filsan",
    "Geedi",
    "Hodan",
    "Idil",
    "Jamila",
    "Kaltun",
    "Ladan",
    "Magan",
    "Nasra",
    "Qorrax",
    "Rooble",
    "Sagal",
    "Tusmo",
    "Ubax",
    "Warsame",
    "Xidigo",
    "Yasmin",
    "Zahra",
    "Ayaan",
)
_ATLANTIC = (
    "Anchor",
    "Bolt",
    "Comet",
    "Domino",
    "Ember",
    "Fathom",
    "Gravel",
    "Harpa",
    "Islay",
    "Jigsaw",
    "Kelpie",
    "Lagoon",
    "Marble",
    "Nimbus",
    "Orkney",
    "Pepper",
    "Quill",
    "Ripple",
    "Salt",
    "Tempest",
    "Umbra",
    "Vesper",
    "Whisk",
    "Zephyr",
)
_NORDIC = (
    "Aino",
    "Birta",
    "Dagny",
    "Eira",
    "Freyja",
    "Gunnar",
    "Helmi",
    "Ilves",
    "Jorunn",
    "Kaisa",
    "Lumi",
    "Mikko",
    "Nanuk",
    "Oona",
    "Pinja",
    "Runa",
    "Saara",
    "Tuuli",
    "Ulla",
    "Venla",
    "Ylva",
    "Aapo",
    "Toivo",
    "Sisu",
)

SPECIES: dict[str, Species] = {
    "zebra": Species(
        number=1,
        plan=plans.ZEBRA,
        growth=Growth(wavelength=0.058, stretch=1.6, quadratic=0.0, drive=0.35),
        paint=coats.paint_zebra,
        habitats=("savanna", "savanna", "bush"),
        camera=Camera(),
        photo_aspect=4 / 3,
        code="Z",
        names=_SWAHILI,
    ),
    "leopard": Species(
        number=2,
        plan=plans.LEOPARD,
        growth=Growth(wavelength=0.066, stretch=0.0, quadratic=1.0, drive=0.0),
        paint=coats.paint_leopard,
        habitats=("bush", "bush", "savanna"),
        camera=Camera(hasty=0.5),
        photo_aspect=4 / 3,
        code="L",
        names=_SOUTHERN,
    ),
    "giraffe": Species(
        number=3,
        plan=plans.GIRAFFE,
        growth=Growth(wavelength=0.115, stretch=0.0, quadratic=1.0, drive=0.0),
        paint=coats.paint_giraffe,
        habitats=("savanna", "savanna", "bush"),
        camera=Camera(scale=(1.08, 1.40), hasty=0.5, stride=0.2, neck_rad=0.08),
        photo_aspect=4 / 5,
        code="G",
        names=_SOMALI,
    ),
    "whale": Species(
        number=4,
        plan=plans.WHALE,
        growth=Growth(wavelength=0.17, stretch=0.0, quadratic=0.4, drive=0.35),
        paint=coats.paint_whale,
        habitats=("sea",),
        camera=Camera(yaw_rad=0.85, lean_rad=0.2, stride=0.0, neck_rad=0.0, roll_rad=0.10, hasty=0.80),
        photo_aspect=4 / 3,
        code="W",
        names=_ATLANTIC,
        sides_by_turn=True,
    ),
    "ringed_seal": Species(
        number=5,
        plan=plans.RINGED_SEAL,
        growth=Growth(wavelength=0.085, stretch=0.0, quadratic=1.0, drive=0.0),
        paint=coats.paint_seal,
        habitats=("ice",),
        camera=Camera(stride=0.0, hasty=0.60),
        photo_aspect=4 / 3,
        code="S",
        names=_NORDIC,
    ),
}


def name_animals(species: Species, count: int, rng: np.random.Generator) -> list[str]:
    """Names as field teams give them: some animals are named, others have a code; all differ."""
    digits = max(3, len(str(count)))
    codes = [f"{species.code}-{number + 1:0{digits}d}" for number in range(count)]
    named = rng.permutation(count)[: min(len(species.names), round(0.7 * count))]
    for position, which in enumerate(rng.permutation(len(species.names))[: len(named)]):
        codes[int(named[position])] = species.names[int(which)]
    return codes
