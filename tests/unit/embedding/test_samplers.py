"""What each batch of an epoch is made of."""

import numpy as np
import pytest

from reid_ray.embedding.samplers import epoch_plan

LABELS = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 13])
PHOTOS_PER_IDENTITY = [None, 2, 4]


@pytest.mark.parametrize("k", PHOTOS_PER_IDENTITY)
@pytest.mark.parametrize("batch_size", [4, 8, 16, 128])
def test_every_photo_comes_at_least_once_and_all_batches_are_full(k: int | None, batch_size: int) -> None:
    plan = epoch_plan(LABELS, batch_size=batch_size, seed=0, epoch=0, photos_per_identity=k)
    assert set(plan.reshape(-1).tolist()) == set(range(len(LABELS)))
    assert plan.shape[1] == batch_size


def test_plain_shuffling_repeats_no_more_than_fills_the_last_batch() -> None:
    plan = epoch_plan(LABELS, batch_size=8, seed=0, epoch=0)
    assert plan.shape == (7, 8)  # 49 photos: 7 batches, 56 places
    counts = np.bincount(plan.reshape(-1), minlength=49)
    assert counts.min() == 1
    assert counts.sum() - 49 == 7
    assert counts.max() == 2


@pytest.mark.parametrize("k", [2, 4])
def test_a_balanced_batch_holds_k_photos_of_each_of_its_p_identities(k: int) -> None:
    plan = epoch_plan(LABELS, batch_size=16, seed=0, epoch=0, photos_per_identity=k)
    for batch in plan:
        groups = LABELS[batch].reshape(16 // k, k)
        assert (groups == groups[:, :1]).all()


def test_a_balanced_batch_mixes_identities() -> None:
    labels = np.repeat(np.arange(32), 8)
    plan = epoch_plan(labels, batch_size=32, seed=0, epoch=0, photos_per_identity=4)
    assert min(len(set(labels[batch])) for batch in plan) >= 5  # of 8 groups, rarely two of one


def test_photos_of_a_group_are_distinct_where_there_are_enough() -> None:
    labels = np.repeat(np.arange(6), 8)
    plan = epoch_plan(labels, batch_size=16, seed=1, epoch=0, photos_per_identity=4)
    assert all(len(set(group)) == 4 for group in plan.reshape(-1, 4).tolist())


@pytest.mark.parametrize("k", PHOTOS_PER_IDENTITY)
def test_the_same_seed_and_epoch_give_the_same_plan_and_others_another(k: int | None) -> None:
    def plan(seed: int, epoch: int) -> np.ndarray:
        return epoch_plan(LABELS, batch_size=8, seed=seed, epoch=epoch, photos_per_identity=k)

    assert (plan(3, 5) == plan(3, 5)).all()
    assert (plan(3, 5) != plan(3, 6)).any()
    assert (plan(3, 5) != plan(4, 5)).any()


def test_the_plan_is_the_published_one_on_every_platform() -> None:
    """Frozen values: a resumed run, or another machine, must draw the same batches."""
    plan = epoch_plan(np.array([0, 0, 1, 1, 2, 2]), batch_size=4, seed=666, epoch=1)
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence([666, 1]))).permutation(6)
    assert plan.reshape(-1).tolist() == [*expected, *expected[:2]]
