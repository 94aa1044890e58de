"""Which photos each training of a transfer study may learn from, counted by hand."""

import pandas as pd
import pytest
from split_rows import rows_of

from reid_ray.config.transfer import VARIANTS, Variant
from reid_ray.splits.domains import variant_rows, withheld
from reid_ray.splits.learnable import trained_on

DATASETS = {"cows": "cattle", "bulls": "cattle", "zebra": "equid", "whale": "whale"}
WITHHELD: dict[Variant, set[str]] = {
    "all": set(),
    "same_domain": {"cows"},
    "other_domains": {"cows", "bulls"},
}


def synthetic() -> pd.DataFrame:
    """Four datasets of one animal `a`: two photos to learn from, one that validates, one query; whales
    are unseen."""
    parts = [rows_of("aaaa", dataset=name, group=group) for name, group in DATASETS.items()]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(
        split=["reference", "reference", "reference", "query"] * 4,
        validation=[False, False, True, False] * 3 + [False] * 4,
        domain=["seen"] * 12 + ["unseen"] * 4,
        content=rows["key"],
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_learns_from_what_is_left(variant: Variant) -> None:
    rows = variant_rows(synthetic(), ["cows"], variant)
    left = {"cows", "bulls", "zebra"} - WITHHELD[variant]
    expected = {f"{name}/{photo:03}" for name in left for photo in (0, 1)}
    assert set(rows.loc[trained_on(rows), "key"]) == expected
    assert set(rows.loc[rows["validation"], "key"]) == {f"{name}/002" for name in left}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_identity_of_the_withheld_datasets_is_in_train(variant: Variant) -> None:
    rows = variant_rows(synthetic(), ["cows"], variant)
    trained = rows[trained_on(rows)]
    animals = set(trained["dataset"] + "/" + trained["identity"])
    assert not animals & {f"{name}/a" for name in WITHHELD[variant] | {"whale"}}


def test_every_variant_asks_the_same_queries_among_the_same_references() -> None:
    seen = [variant_rows(synthetic(), ["cows", "whale"], variant) for variant in VARIANTS]
    for rows in seen:
        assert list(rows.loc[rows["split"] == "query", "key"]) == ["cows/003", "whale/003"]
        assert list(rows["key"]) == list(synthetic()["key"])
        references = rows[(rows["split"] == "reference") & (rows["dataset"] == "cows")]
        assert list(references["key"]) == ["cows/000", "cows/001", "cows/002"]


def test_a_photo_that_lies_in_two_datasets_is_withheld_from_both() -> None:
    rows = synthetic()
    rows.loc[rows["key"] == "zebra/001", "content"] = "cows/003"
    out = withheld(rows, ["cows"], "same_domain")
    expected = ["cows/000", "cows/001", "cows/002", "cows/003", "zebra/001"]
    assert list(rows.loc[out, "key"]) == expected


def test_photos_without_a_known_content_are_not_taken_for_equal() -> None:
    rows = synthetic().assign(content="")
    assert withheld(rows, ["cows"], "same_domain").sum() == 4


def test_groups_of_single_photos_count_where_a_dataset_holds_several_species() -> None:
    rows = synthetic()
    rows.loc[rows["key"].isin(["zebra/000", "zebra/002"]), "group"] = "cattle"
    seen = variant_rows(rows, ["cows"], "other_domains")
    assert list(seen.loc[trained_on(seen), "key"]) == ["zebra/001"]
    assert not seen["validation"].any()
