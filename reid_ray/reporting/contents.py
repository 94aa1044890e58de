"""The report's table of contents. To add a section: a module below `sections`, a template, a line here."""

from reid_ray.reporting.sections import (
    animals,
    confirmation,
    cost,
    data,
    datasets,
    examples,
    leaderboard,
    provenance,
    ranks,
    reading,
    settings,
    training,
    transfer,
    verdict,
)

SECTIONS = (
    verdict.SECTION,
    leaderboard.SECTION,
    transfer.SECTION,
    datasets.SECTION,
    settings.SECTION,
    ranks.SECTION,
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
