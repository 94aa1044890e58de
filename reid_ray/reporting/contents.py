"""The report's table of contents. To add a section: a module below `sections`, a template, a line here."""

from reid_ray.reporting.sections import (
    animals,
    confirmation,
    cost,
    data,
    datasets,
    encounters,
    examples,
    leaderboard,
    leaks,
    open_set,
    provenance,
    ranks,
    reading,
    settings,
    training,
    transfer,
    verdict,
    withheld,
)

SECTIONS = (
    verdict.SECTION,
    leaderboard.SECTION,
    transfer.SECTION,
    withheld.SECTION,
    encounters.SECTION,
    datasets.SECTION,
    settings.SECTION,
    ranks.SECTION,
    open_set.SECTION,
    leaks.SECTION,
    animals.SECTION,
    examples.SECTION,
    training.SECTION,
    confirmation.SECTION,
    data.SECTION,
    cost.SECTION,
    provenance.SECTION,
    reading.SECTION,
)
"""In the order they are read."""
