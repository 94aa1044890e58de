"""Put names and notes into Markdown as text. In: any text. Out: Markdown that shows it, on one line.

MLflow draws what a description links to: an image in a name would be fetched by each reader's browser.
"""

import re

_MEANS_SOMETHING = re.compile(r"[\\`*\[\]<>|]")


def as_text(text: str) -> str:
    return _MEANS_SOMETHING.sub(lambda found: "\\" + found[0], " ".join(text.splitlines()))
