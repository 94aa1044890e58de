"""Tell photos of one encounter: an animal met once, with one background, light and posture.

In: the table of photos. Out: its `encounter` column, and a number per photo. Where a reference
shows the query's own encounter, the background alone may name the animal.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import EncounterFrom
from reid_ray.errors import DatasetError

ENCOUNTER = "encounter"
LONGEST_TEXT = 1024
"""Characters that a pattern searches: most patterns take time by the square of it, or worse."""


def derive_encounters(
    rows: pd.DataFrame, source: EncounterFrom, *, dataset: str, setting: str = "encounter_from"
) -> pd.Series:
    """What the pattern's group finds in the source's column; "" where it finds nothing.

    Args:
        setting: where the source was given.

    Raises:
        DatasetError: no such column, nothing found in any row, or a text that is too long to search.
    """
    if source.column not in rows:
        raise DatasetError(
            f"{dataset}: {setting}.column is '{source.column}', which the table does not have; "
            f"found {[str(name) for name in rows]}"
        )
    texts = rows[source.column].astype(str)
    if (longest := texts.str.len()).gt(LONGEST_TEXT).any():
        row = int(longest.to_numpy().argmax())
        raise DatasetError(
            f"{dataset}: column '{source.column}' has {longest.iloc[row]} characters in row {row + 1}, and "
            f"encounter_from.pattern searches {LONGEST_TEXT} at most; shorten it, or search another column"
        )
    found = [match[1] or "" if (match := re.search(source.pattern, text)) else "" for text in texts]
    if len(rows) and not any(found):
        raise DatasetError(
            f"{dataset}: {setting}.pattern {source.pattern!r} finds nothing in column "
            f"'{source.column}', for example in {texts.iloc[0]!r}; mend the pattern"
        )
    return pd.Series(found, rows.index, dtype="str")


def encounter_codes(rows: pd.DataFrame) -> NDArray[np.int64]:
    """A number per row, equal within one encounter of one dataset; -1 where none is given."""
    if ENCOUNTER not in rows:
        return np.full(len(rows), -1, np.int64)
    given = rows[ENCOUNTER].notna() & (rows[ENCOUNTER].astype(str) != "")
    names = rows["dataset"].astype(str) + "/" + rows[ENCOUNTER].astype(str)
    return pd.factorize(names.where(given))[0].astype(np.int64)


def encounter_groups(rows: pd.DataFrame, *, named: bool) -> NDArray[np.int64]:
    """A number per row, equal for photos of one encounter as they show one animal; a number of its
    own where the encounter is not known.

    Args:
        named: whether the rows' names may be trusted; then an encounter of several animals is an
            encounter of each. Otherwise an encounter with one file in two rows, as of two boxes in one
            photo, is taken to show several, and each of its rows stands by itself.
    """
    encounters = encounter_codes(rows)
    together = pd.Series(encounters.astype(str), rows.index)
    if named:
        together += "/" + rows["identity"].astype(str)
    else:
        twice = rows["path"].groupby(encounters).transform(lambda paths: paths.duplicated().any())
        encounters = np.where(twice, -1, encounters)
    alone = pd.Series("alone " + np.arange(len(rows)).astype(str).astype(object), rows.index)
    return pd.factorize(together.where(encounters >= 0, alone))[0].astype(np.int64)


def same_encounter(encounters_q: NDArray[np.int64], encounters_g: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which references show which query's encounter, bool [q, g]; unknown ones are never equal."""
    same_qg = encounters_q[:, None] == encounters_g[None]
    return np.asarray(same_qg & (encounters_q >= 0)[:, None])
