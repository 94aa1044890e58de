"""The report's table of contents. To add a section: a module below `sections`, a template, a line here."""

from reid_ray.reporting.sections import (
    animals,
    confirmation,
    cost,
    data,
    datasets,
    examples,
    fusion,
    leaderboard,
    provenance,
    ranks,
    reading,
    settings,
    shortlists,
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
    fusion.SECTION,
    shortlists.SECTION,
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
