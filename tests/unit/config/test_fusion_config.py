"""Shortlists and fusions name methods that there are."""

from typing import Any

import pytest

from reid_ray.config.fusion import by_name, required
from reid_ray.config.match import MatchRun
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

DATA = {"datasets": [{"source": "folder", "name": "mine", "root": "/photos"}]}
LOCAL = [{"name": "SIFT"}, {"name": "LNBNN", "score": "lnbnn"}]


def study(**changes: Any) -> Study:
    raw: dict[str, Any] = {
        "name": "s",
        "data": DATA,
        "baselines": {"matching": LOCAL},
        "grid": {"backbones": ["test_resnet"]},
    }
    return Study.parse(raw | changes, where="test")


def test_parts_may_be_any_method_that_is_scored_or_chosen() -> None:
    shortlist = {"by": "selected_trial", "size": 20}
    parts = ["LNBNN", "selected_trial", "test_resnet untrained"]
    found = study(fusion=[{"name": "f", "parts": parts, "shortlist": shortlist}]).fusion[0]
    assert found.calibration == "isotonic"
    assert found.uses() == set(parts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": [{"parts": ["SIFT", "Sift"]}]}, r"names no method it can use: \['Sift'\]"),
        ({"fusion": [{"parts": ["SIFT"]}]}, "at least 2"),
        ({"fusion": [{"parts": ["SIFT", "SIFT"]}]}, "parts must differ"),
        ({"fusion": [{"name": "SIFT", "parts": ["SIFT", "LNBNN"]}]}, "names of methods must differ"),
        ({"baselines": {"matching": [{"name": "selected_trial"}]}}, "not be selected_trial or vlad"),
        ({"grid": None, "fusion": [{"parts": ["SIFT", "selected_trial"]}]}, "no method it can use"),
        ({"baselines": {"matching": [{"shortlist": {"by": "Sift"}}]}}, "SIFT names no method it can use"),
        ({"baselines": {"matching": [{"shortlist": {"by": "SIFT"}}]}}, "SIFT builds on itself"),
        (
            {
                "baselines": {"matching": [*LOCAL, {"name": "again", "shortlist": {"by": "f"}}]},
                "fusion": [{"name": "f", "parts": ["SIFT", "LNBNN"], "shortlist": {"by": "again"}}],
            },
            "again builds on itself",
        ),
        (
            {
                "baselines": {
                    "matching": [*LOCAL, {"name": "a", "place_weights": "auto", "shortlist": {"by": "LNBNN"}}]
                }
            },
            "a: place_weights behind a shortlist are those",
        ),
        (
            {
                "data": {**DATA, "split": {"validation_share": 0}},
                "fusion": [{"parts": ["SIFT", "selected_trial"]}],
            },
            "validation_share above 0",
        ),
        (
            {"fusion": [{"parts": ["selected_trial", "test_resnet untrained"], "shortlist": {"by": "vlad"}}]},
            "no method it can use: .'vlad'",
        ),
        (
            {
                "baselines": {"matching": [{"shortlist": {"by": "selected_trial", "size": 9}}]},
                "fusion": [{"parts": ["SIFT", "selected_trial"], "shortlist": {"by": "selected_trial"}}],
            },
            "another shortlist",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_a_shortlist_may_go_by_local_features_or_a_fusion_and_takes_over_weights_of_places() -> None:
    votes = {"name": "votes", "score": "lnbnn", "place_weights": "auto"}
    again = {"name": "again", "place_weights": "auto", "shortlist": {"by": "f"}}
    last = {"name": "last", "shortlist": {"by": "again"}}
    found = study(
        baselines={"matching": [last, again, *LOCAL, votes]},
        fusion=[{"name": "f", "parts": ["SIFT", "votes"], "shortlist": {"by": "LNBNN"}}],
    )
    configs = by_name(found.baselines.matching, found.fusion)
    assert required(configs["last"], configs) == {"again", "f", "SIFT", "votes", "LNBNN"}
    assert required(configs["f"], configs) == {"SIFT", "votes", "LNBNN"}
    assert required(configs["SIFT"], configs) == set()


def test_matching_alone_can_be_fused_and_shortlisted_but_has_no_winner() -> None:
    raw: dict[str, Any] = {
        "name": "m",
        "data": DATA,
        "methods": [*LOCAL, {"name": "few", "shortlist": {"by": "vlad", "size": 5}}],
        "fusion": [{"parts": ["SIFT", "LNBNN"], "shortlist": {"by": "vlad"}}],
    }
    found = MatchRun.parse(raw, where="test").study()
    assert found.fusion[0].parts == ("SIFT", "LNBNN")
    raw["methods"][2]["shortlist"]["by"] = "selected_trial"
    with pytest.raises(ConfigError, match=r"few names no method it can use: \['selected_trial'\]"):
        MatchRun.parse(raw, where="test")
