"""What the figures over collections show is what the answers say, by hand."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from test_per_setting import trained

from reid_ray.reporting import boxes, over_collections
from reid_ray.reporting.boxes import Group, Row
from reid_ray.reporting.pooled import Method

Drawn = dict[str, list[Row]]


def method(
    name: str, family: str, positives: dict[str, int], *, trial: bool = True, **params: object
) -> Method:
    records = []
    for dataset, right in positives.items():
        record = trained(dataset, right, name=name)
        kind = "trial" if trial else "baseline"
        result = replace(record.result, family=family, kind=kind, params={"backbone": "net", **params})
        records.append(replace(record, result=result))
    made = Method(name, family, tuple(records))  # type: ignore[arg-type]
    # Figures of a method are tested elsewhere.
    vars(made)["figures"] = {f"test/{dataset}/top1": right / 10 for dataset, right in positives.items()}
    return made


@pytest.fixture
def methods() -> list[Method]:
    """Two collections, one of them published; two settings of either loss, a model, a chance."""
    return [
        method("a1", "ArcFace", {"BelugaID": 4, "mine": 6}, margin=0.25, scale=32.0, lr=0.01),
        method("a2", "ArcFace", {"BelugaID": 5, "mine": 8}, margin=0.5, scale=32.0, lr=0.01),
        method("t1", "Triplet", {"BelugaID": 1, "mine": 2}, margin=0.1, mining="semi", lr=0.01),
        method("t2", "Triplet", {"BelugaID": 7, "mine": 9}, margin=0.2, mining="all", lr=0.01),
        method("Mega", "pretrained", {"BelugaID": 6, "mine": 3}, trial=False),
        method("SIFT", "local features", {"BelugaID": 8, "mine": 2}, trial=False),
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Drawn]:
    """The rows that a figure is drawn from, by heading."""
    kept: Drawn = {}

    def keep(groups: list[Group], **_: object) -> str:
        kept.clear()
        kept.update({group.heading: list(group.rows) for group in groups})
        return "<svg/>"

    monkeypatch.setattr(over_collections, "draw", keep)

    def of(figure: Callable[..., str], *arguments: object) -> Drawn:
        figure(*arguments, name="x")
        return kept

    return of


def test_each_setting_has_a_box_over_collections_best_median_first(methods, drawn) -> None:
    rows = drawn(over_collections.combinations, methods, "ArcFace")["net"]
    assert [(row.label, row.points) for row in rows] == [
        ("m=0.5 s=32 lr=0.01", (0.5, 0.8)),
        ("m=0.25 s=32 lr=0.01", (0.4, 0.6)),
    ]
    rows = drawn(over_collections.combinations, methods, "Triplet")["net"]
    assert [row.label for row in rows] == ["m=0.2 all lr=0.01", "m=0.1 semi lr=0.01"]


def test_each_collection_has_its_own_ablation(methods, drawn) -> None:
    found = drawn(over_collections.per_collection, methods)
    assert list(found) == ["BelugaID", "mine"]
    assert [(row.label, row.points) for row in found["mine"]] == [
        ("net, ArcFace", (0.6, 0.8)),
        ("net, Triplet", (0.2, 0.9)),
    ]


def test_sensitivity_is_best_less_worst_on_each_collection(methods, drawn) -> None:
    rows = {row.label: row.points for row in drawn(over_collections.sensitivity, methods)[""]}
    assert rows["net, ArcFace"] == pytest.approx((0.1, 0.2))
    assert rows["net, Triplet"] == pytest.approx((0.6, 0.7))
    table = over_collections.sensitivity_table(methods).set_index("family")
    assert table["median"].to_dict() == pytest.approx({"ArcFace": 0.15, "Triplet": 0.65})
    assert table["settings"].tolist() == [2, 2]


def test_models_are_compared_on_all_collections_and_trials_only_by_the_chosen_one(methods, drawn) -> None:
    chosen = [replace(one, chosen=one.name == "a2") for one in methods]
    rows = drawn(over_collections.compared, chosen)[""]
    assert [(row.label, row.points) for row in rows] == [
        ("a2", (0.5, 0.8)),
        ("SIFT", (0.8, 0.2)),
        ("Mega", (0.6, 0.3)),
    ]


def test_published_figures_stand_beside_those_of_the_same_collection_alone(methods) -> None:
    table = over_collections.published_table(methods)
    assert table["dataset"].tolist() == ["BelugaID", "BelugaID"]
    assert table["method"].tolist() == ["Mega", "SIFT"]
    assert table["top1"].tolist() == [0.6, 0.8]
    # As published: T-224 33.12, L-384 66.48.
    assert table["MegaDescriptor-T-224"].tolist() == pytest.approx([0.3312] * 2)
    assert table["MegaDescriptor-L-384"].tolist() == pytest.approx([0.6648] * 2)


@pytest.mark.parametrize(("points", "boxed"), [(4, False), (5, True)])
def test_fewer_than_five_values_are_dots_without_a_box(points: int, boxed: bool) -> None:
    row = Row("setting", "ArcFace", tuple(0.1 * n for n in range(points)))
    svg = boxes.draw([Group("", (row,))], name="x", title="t", width_px=700)
    # A box is the only thing that is filled with an opacity of 0.18.
    assert bool(re.search(r"opacity: ?0\.18|opacity=\"0\.18\"", svg)) == boxed
