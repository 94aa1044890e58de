"""Who is photographed when, and from which side."""

import itertools

import numpy as np
import pytest

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic.census import photo_counts, plan_shots


def synthetic(**changes: object) -> SyntheticDataset:
    return SyntheticDataset.parse(
        {"source": "synthetic", "name": "h", "species": "zebra"} | changes, where="test"
    )


@pytest.mark.parametrize(("identities", "mean"), [(2, 2), (3, 2), (16, 10), (17, 5), (300, 40)])
def test_photos_vary_around_the_mean_and_are_never_fewer_than_two(identities: int, mean: int) -> None:
    counts = photo_counts(identities, mean, np.random.default_rng(0))
    assert sum(counts) == identities * mean
    assert min(counts) >= 2
    assert len(counts) == identities
    assert (len(set(counts)) > 1) == (mean > 2)


def test_no_animal_is_photographed_twice_on_one_day_even_when_there_are_more_photos_than_days() -> None:
    shots = plan_shots(synthetic(identities=2, photos=1000))
    assert len({(shot.identity, shot.date) for shot in shots}) == len(shots) == 2000


def test_every_encounter_is_one_photo_so_no_split_can_divide_it() -> None:
    shots = plan_shots(synthetic(identities=20, photos=20))
    assert len({shot.encounter for shot in shots}) == len(shots)


def test_a_repeat_is_the_same_moment_once_more_and_changes_no_other_shot() -> None:
    plain, shots = plan_shots(synthetic(photos=100)), plan_shots(synthetic(photos=100, repeated=0.25))
    repeats = [shot for shot in shots if shot.repeats]
    assert [shot for shot in shots if not shot.repeats] == plain
    assert len(repeats) / len(plain) == pytest.approx(0.25, abs=0.03)
    originals = {shot.image_id: shot for shot in plain}
    for shot in repeats:
        twin = originals[shot.image_id.removesuffix("b")]
        assert (shot.identity, shot.date, shot.encounter) == (twin.identity, twin.date, twin.encounter)


def test_image_ids_in_the_order_of_dates_are_sorted_and_unique() -> None:
    shots = plan_shots(synthetic(identities=200, photos=60))
    ids = [shot.image_id for shot in shots]
    assert ids == sorted(set(ids))
    assert [shot.date for shot in shots] == sorted(shot.date for shot in shots)


def test_image_ids_say_nothing_about_identity() -> None:
    """Neighbours in the list are the same animal as often as by chance: 20 animals, so 5 %."""
    who = [shot.animal for shot in plan_shots(synthetic(identities=20, photos=100))]
    same = np.mean([a == b for a, b in itertools.pairwise(who)])
    assert 0.03 < same < 0.07


def test_four_of_five_photos_show_the_left_flank() -> None:
    shots = plan_shots(synthetic(identities=100, photos=20))
    assert np.mean([shot.orientation == "left" for shot in shots]) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("species", ["zebra", "leopard", "giraffe", "whale", "ringed_seal"])
def test_names_differ_and_are_safe_as_folder_names(species: str) -> None:
    names = {
        shot.animal: shot.identity
        for shot in plan_shots(synthetic(species=species, identities=120, photos=2))
    }
    assert len({name.casefold() for name in names.values()}) == 120
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names.values())
    assert any("-" in name for name in names.values())
    assert any("-" not in name for name in names.values())
