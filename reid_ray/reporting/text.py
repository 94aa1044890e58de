"""Show names from data as what they are: nothing invisible, nothing that reorders a line."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a shape: controls, direction marks, private use, unassigned."""
_KEPT = {"\n", "\t", "\u200c", "\u200d", "\u00ad"}
"""Line ends and tabs of our own text; (non-)joiners that Persian and emoji need; soft hyphens."""


def visible(text: str) -> str:
    """Replace characters that cannot be seen by their code, `<U+202E>` in angle brackets."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\u27e8U+{ord(letter):04X}\u27e9"
        if unicodedata.category(letter) in _HIDDEN and letter not in _KEPT
        else letter
        for letter in text
    )


def shorten(text: str, most: int) -> str:
    """At most `most` characters, without the middle: beginnings and ends tell settings apart."""
    text = " ".join(visible(text).split())
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}\u2026{text[len(text) - end :]}"


def percent(share: float, digits: int = 1) -> str:
    """A share in 0..1 as percent, without the sign; a dash where it was not measured."""
    return "\u2013" if share is None or share != share else f"{100 * share:.{digits}f}"


def hours(number: float) -> str:
    """Hours to two digits; a dash where they are not known."""
    return "\u2013" if number != number else f"{number:.2f}"


def score(number: float) -> str:
    """A similarity, whatever its scale: `0.9523`, `343.8`, `1\u202f379\u202f000` (thin spaces)."""
    if abs(number) < 10_000:
        return f"{number:.4g}"
    return f"{float(f'{number:.4g}'):,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as people say them: `8.4 s`, `2 min 05 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
