"""Answers on four photos: one sure of `leo`, one of nobody known, with a hostile file name."""

import numpy as np
import pandas as pd

from reid_ray.config.identify import LOCAL
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.reporting.answers import Answer, Answers, Candidate
from reid_ray.reporting.review import Card, review_cards

HOSTILE = "<script>alert(1)</script>"


def rows(count: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"p{i}.jpg" for i in range(count - 1)] + [HOSTILE],
            "identity": ["leo", "mia", "unknown", "unknown"][:count],
            "dataset": ["reference", "reference", "query", "query"][:count],
            "date": ["2024-03-09", "", "2023", ""][:count],
            "species": ["Lynx lynx", "", "Lynx lynx", ""][:count],
        }
    )


def answers() -> Answers:
    leo, mia = Candidate("leo", 0.95, 0), Candidate("=mia", 0.02, 1)
    told = (
        Answer(2, "leo", 0.95, 0.03, (leo, mia), truth="leo"),
        Answer(3, None, 0.7, 0.7, (Candidate("=mia", 0.2, 1), Candidate("leo", 0.1, None)), group=0),
    )
    learnt = {
        "leave_one_out_queries": 20,
        "found_again": 0.5,
        "unknown_noticed": 0.75,
        "unknown_share": 0.2,
        "reliability": [{"low": 0.9, "high": 1.0, "answers": 7.0, "said": 0.95, "right": 0.9}],
        "skill": {"brier": 0.12, "constant": 0.21, "right": 0.3, "said": 0.31},
        "looked_by": ["LNBNN"],
        "grouping": {"ari": 0.31, "ari_encounters": 0.2, "cut": 0.5, "photos": 9},
    }
    return Answers("trip", rows(), pd.DataFrame(), told, learnt, ("a note",))


def photos(count: int = 4) -> PreparedImages:
    rng = np.random.default_rng(0)
    return PreparedImages.pack(rng.integers(0, 256, (96, 120, 3), dtype=np.uint8) for _ in range(count))


def cards(of: Answers, drawn: int = 0) -> list[Card]:
    return review_cards(of, photos(), matching=LOCAL["sift"] if drawn else None, drawn=drawn)


def burst() -> Answers:
    """Two photos of one encounter with one answer, whose evidence is in the second; and one alone."""
    few = answers()
    leo = Candidate("leo", 0.95, 0, beside=3)
    told = (
        Answer(2, "leo", 0.95, 0.03, (leo,), truth="leo", together=0),
        Answer(1, None, 0.7, 0.7, ()),
        Answer(3, "leo", 0.95, 0.03, (leo,), truth="mia", together=0),
    )
    return Answers("trip", few.rows, few.quarantine, told, few.learnt)
