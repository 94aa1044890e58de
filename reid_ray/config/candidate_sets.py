"""Which references may answer a photo, by what both are known to show."""

from collections.abc import Iterable
from typing import Literal

from pydantic import PositiveInt

from reid_ray.config.base import Config

Choice = Literal["off", "prefer", "only"]


class CandidateSets(Config):
    """Candidate sets: references of another side, location or period are left out."""

    viewpoint: Choice = "off"
    """Which references are matched with a query, by the side that they show (column `orientation`): `off`:
    all; `only`: those of the same side; `prefer`: also those of animals that have none of it. What is left
    out costs nothing. A photo whose side is not known is matched with all."""
    location: Choice = "off"
    """The same by the place (column `location`): equal words are one place. It is used without being
    written anywhere."""
    period: Choice = "off"
    """The same by time: photos of days (column `date`) that are at most `period_days` apart."""
    period_days: PositiveInt = 180

    @property
    def rules(self) -> dict[str, Choice]:
        """Those that leave anything out, by column."""
        every = {"orientation": self.viewpoint, "location": self.location, "date": self.period}
        return {column: rule for column, rule in every.items() if rule != "off"}

    @property
    def alone(self) -> "CandidateSets":
        """The rules without what else a method has settings for."""
        return CandidateSets(**{name: getattr(self, name) for name in CandidateSets.model_fields})

    @classmethod
    def joined(cls, several: Iterable["CandidateSets"]) -> "CandidateSets":
        """Each rule as the first has it that has it."""
        found: dict[str, Choice | int] = {}
        for one in several:
            if one.period != "off" and "period" not in found:
                found |= {"period": one.period, "period_days": one.period_days}
            for name in ("viewpoint", "location"):
                if (rule := getattr(one, name)) != "off":
                    found.setdefault(name, rule)
        return cls.model_validate(found)


ALL = CandidateSets()
"""Nothing is left out."""
