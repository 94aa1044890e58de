"""The best method of all families, by validation photos alone."""

from typing import Any

from reid_ray.methods.selection import select, selected_by_queries
from reid_ray.runs.methods import Result


def result(name: str, val: float | None, query: float, **changes: Any) -> Result:
    metrics = {"seen/top1": query} | ({} if val is None else {"val/top1": val})
    plain = {"key": name, "method": name, "kind": "baseline", "family": "local features", "scope": "d"}
    return Result(**{**plain, "metrics": metrics, **changes})


def test_validation_decides_whatever_the_queries_say() -> None:
    found = [result("sift", 0.5, 0.9), result("net", 0.6, 0.1, family="ArcFace", kind="trial")]
    selected = select(found)
    assert selected is not None
    assert selected.method == "net"
    assert not selected_by_queries(found)


def test_networks_local_features_and_fusions_are_selected_alike() -> None:
    families = ("local features", "pretrained", "untrained", "fusion", "ArcFace", "Triplet")
    for best in families:
        found = [result(one, 0.9 if one == best else 0.4, 0.5, family=one) for one in families]
        selected = select(found)
        assert selected is not None
        assert selected.family == best


def test_without_validation_photos_it_is_told_that_the_queries_decided() -> None:
    found = [result("sift", None, 0.4), result("net", None, 0.6)]
    selected = select(found)
    assert selected is not None
    assert selected.method == "net"
    assert selected_by_queries(found)


def test_a_method_without_a_validation_figure_is_not_taken_for_its_queries() -> None:
    selected = select([result("unvalidated", None, 0.99), result("sift", 0.3, 0.1)])
    assert selected is not None
    assert selected.method == "sift"


def test_what_failed_and_chance_are_never_selected() -> None:
    assert (
        select([result("chance", 0.9, 0.9, family="chance"), result("x", 0.9, 0.9, status="failed")]) is None
    )


def test_of_equally_good_methods_the_earlier_is_taken() -> None:
    selected = select([result("first", 0.5, 0.1), result("second", 0.5, 0.9)])
    assert selected is not None
    assert selected.method == "first"


def test_per_collection_the_median_decides_and_all_collections_are_needed() -> None:
    nets = [result("net", val, 0.0, key=f"n{val}") for val in (0.2, 0.9, 0.6)]
    easy = [result("easy", 0.95, 0.0)]
    metrics = {"val/a/top1": 0.5, "val/b/top1": 0.55, "val/c/top1": 0.99, "val/top1": 0.7}
    sift = [result("sift", 0.7, 0.0, metrics=metrics)]
    selected = select([*nets, *easy, *sift], per_collection=True)
    assert selected is not None
    assert selected.method == "net"  # 0.6 against 0.55


def test_without_validation_photos_networks_of_each_collection_meet_methods_of_all() -> None:
    """Medians over collections a, b, c: 0.4 of the networks, 0.5 of SIFT; e is another, unseen one."""
    each = {"a": 0.9, "b": 0.4, "c": 0.1}
    nets = [
        result(
            "net",
            None,
            top1,
            key=name,
            kind="trial",
            scope=name,
            metrics={"seen/top1": top1, f"test/{name}/top1": top1, "test/e/top1": 0.99},
        )
        for name, top1 in each.items()
    ]
    asked = {"test/a/top1": 0.5, "test/b/top1": 0.6, "test/c/top1": 0.4, "test/e/top1": 0.0}
    sift = result("sift", None, 0.5, scope="a+b+c+e", metrics={"seen/top1": 0.5, **asked})
    selected = select([*nets, sift], per_collection=True)
    assert selected is not None
    assert selected.method == "sift"
