"""What a study refuses before any photo is read."""

from typing import Any

import pytest

from reid_ray.config.base import load
from reid_ray.config.named import find
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

SYNTHETIC = {"zebra_a": "equid", "zebra_b": "equid", "giraffe": "ruminant"}


def study(collections: dict[str, str] = SYNTHETIC, **changes: Any) -> Study:
    datasets = [
        {"source": "synthetic", "name": name, "species": "zebra", "group": group}
        for name, group in collections.items()
    ]
    data = {"datasets": datasets} | changes.pop("data", {})
    return Study.parse({"name": "s", "data": data, **changes}, where="test")


def test_a_transfer_study_has_the_winner_in_all_three_variants_by_default() -> None:
    transfer = study(transfer={"evaluate": ["zebra_a"]}).transfer
    assert transfer is not None
    assert transfer.variants == ("all", "same_domain", "other_domains")
    assert transfer.settings == ("selected_trial",)


@pytest.mark.parametrize(
    ("collections", "changes", "told"),
    [
        (SYNTHETIC, {"evaluate": ["lion"]}, "names no dataset: .'lion'.; datasets are"),
        (SYNTHETIC, {"evaluate": ["giraffe"]}, r"same_domain: no other .* group \['ruminant'\]"),
        (
            {"zebra_a": "equid", "zebra_b": "equid"},
            {"evaluate": ["zebra_a"]},
            r"other_domains: every seen dataset is of group \['equid'\]",
        ),
    ],
)
def test_a_variant_without_anything_to_learn_from_is_refused(
    collections: dict[str, str], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        study(collections, transfer=changes)


def test_what_a_refusal_advises_is_accepted() -> None:
    study(transfer={"evaluate": ["giraffe"], "variants": ["all", "other_domains"]})
    two = {"zebra_a": "equid", "zebra_b": "equid"}
    study(two, transfer={"evaluate": ["zebra_a"], "variants": ["all", "same_domain"]})


def test_groups_that_are_never_trained_on_are_no_others() -> None:
    with pytest.raises(ConfigError, match="other_domains: every seen dataset"):
        study(transfer={"evaluate": ["zebra_a"]}, data={"unseen": ["ruminant"]})
    with pytest.raises(ConfigError, match=r"photos of \['equid'\], which data.unseen keeps out"):
        study(transfer={"evaluate": ["zebra_a"]}, data={"unseen": ["equid"]})


def test_a_table_with_groups_by_photo_is_judged_only_once_it_is_read() -> None:
    table = {"source": "table", "name": "t", "root": "/nowhere", "group_by": "species"}
    data = {"datasets": [table], "unseen": ["Bos_taurus"]}
    raw = {"name": "s", "data": data, "transfer": {"evaluate": ["t"]}}
    assert Study.parse(raw, where="test").data.groups_by_photo


def test_transfer_without_validation_photos_cannot_choose_per_variant() -> None:
    split = {"split": {"validation_share": 0.0}}
    study(transfer={"evaluate": ["zebra_a"]}, data=split)
    with pytest.raises(ConfigError, match=r"settings grid: .*validation_share is 0"):
        study(transfer={"evaluate": ["zebra_a"], "settings": ["grid"]}, data=split)


def test_asha_is_refused_where_it_could_judge_by_query_photos_alone() -> None:
    with pytest.raises(ConfigError, match=r"asha judges (.|\n)*share is 0"):
        study(search="asha", data={"split": {"validation_share": 0.0}})
    assert study(search="asha").search == "asha"


def test_frozen_epochs_are_refused_for_a_loss_without_class_centres() -> None:
    with pytest.raises(ConfigError, match="triplet losses have none"):
        study(training={"frozen_epochs": 2})
    assert study(training={"frozen_epochs": 2}, grid={"triplet": None}).training.frozen_epochs == 2


def test_asha_that_could_never_stop_a_trial_is_refused() -> None:
    with pytest.raises(ConfigError, match="grace_epochs is 10 of 10 epochs"):
        study(search="asha", training={"epochs": 10})


@pytest.mark.parametrize("name", ["quickstart", "paper", "paper_small", "domains", "lion", "nyala_dev"])
def test_the_configs_that_come_along_are_valid(name: str) -> None:
    assert load(Study, find("tune", name)).search == "grid"
