"""Read dates as people write them. In: a collection's cells. Out: the same as year-month-day, where sure.

`13/03/2021` shows that the day comes first, `03/13/2021` that the month does; where no date of a collection
shows it (`03/04/2021`), none is read, as a wrong guess would be worse.
"""

import re
from typing import NamedTuple

import pandas as pd

_YEAR_FIRST = re.compile(r"\s*\d{4}[-:/.]?\d{2}[-:/.]?\d{2}(?:\D|$)")
_NUMBERS = re.compile(r"\s*(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)(.*)", re.DOTALL)
_NAMED = re.compile(r"\s*(\d{1,2})[-/. ]([A-Za-z]{3})[a-z]*[-/., ]+(\d{4})(?!\d)(.*)", re.DOTALL)
_SHORT = re.compile(r"\s*(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)(.*)", re.DOTALL)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


class Dates(NamedTuple):
    """Dates of one collection.

    Attributes:
        texts: as year-month-day where that could be told, else as written.
        note: what was understood of their order, "" if there was nothing to understand.
        problem: what to mend, "" if nothing.
    """

    texts: pd.Series
    note: str = ""
    problem: str = ""


def read_dates(cells: pd.Series) -> Dates:
    """Dates with the year at the end are turned round if at least one of them shows the order."""
    texts = cells.astype(str)
    odd = [text for text in texts.unique() if text.strip() and not _YEAR_FIRST.match(text)]
    if not odd:
        return Dates(cells)
    numbers = {text: found for text in odd if (found := _NUMBERS.fullmatch(text))}
    order = _order([(int(found[1]), int(found[3])) for found in numbers.values()])
    turned: dict[str, str] = {}
    for text in odd:
        if (found := numbers.get(text)) and order in ("day", "month"):
            first, second = int(found[1]), int(found[3])
            day, month = (first, second) if order == "day" else (second, first)
            turned[text] = _date(found[4], month, day, found[5])
        elif found := _NAMED.fullmatch(text):
            turned[text] = _date(found[3], _MONTHS.get(found[2].lower(), 0), int(found[1]), found[4])
        elif found := _SHORT.fullmatch(text):
            turned[text] = _date(found[1], int(found[2]), int(found[3]), found[4])
    turned = {text: date for text, date in turned.items() if date}
    kept = texts.map(lambda text: turned.get(text, text)).astype("str")
    return Dates(kept, _note(numbers, order, turned), _problem(odd, numbers, order, turned))


def _order(pairs: list[tuple[int, int]]) -> str:
    """`day` or `month`: which comes first; `` if nothing shows it, `both` if some show each."""
    day = any(first > 12 for first, _ in pairs)
    month = any(second > 12 for _, second in pairs)
    return "both" if day and month else "day" if day else "month" if month else ""


def _date(year: str, month: int, day: int, rest: str) -> str:
    """ "" where there is no such day."""
    try:
        return pd.Timestamp(int(year), month, day).strftime("%Y-%m-%d") + rest
    except ValueError:
        return ""


def _note(numbers: dict[str, re.Match[str]], order: str, turned: dict[str, str]) -> str:
    example = next((text for text in numbers if text in turned), "")
    if not example:
        return ""
    return f"dates such as {example!r} are read with the {order} first: {turned[example][:10]}"


def _problem(odd: list[str], numbers: dict[str, re.Match[str]], order: str, turned: dict[str, str]) -> str:
    lost = [text for text in odd if text not in turned and not re.fullmatch(r"\s*\d{4}(-\d{2})?\s*", text)]
    if not lost:
        return ""
    if numbers and order in ("", "both"):
        some = [text for text in lost if text in numbers]
        why = "nothing shows" if not order else "they contradict each other in"
        return (
            f"dates such as {some[0]!r} may have the day or the month first, and {why} which: the dates "
            "cannot be read as days; write them as 2021-03-13"
        )
    return f"{len(lost)} different dates, for example {lost[0]!r}, cannot be read as days; write 2021-03-13"
