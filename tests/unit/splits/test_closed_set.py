"""The paper's closed-set split, against published files and a plain re-implementation."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_rows import rows_of

from reid_ray.splits.closed_set import closed_set, lcg, reference_counts

GOLDEN = Path(__file__).parents[2] / "golden" / "lion_split.csv"

identities = st.lists(st.sampled_from(["1", "2", "10", "011", "unknown"]), min_size=1, max_size=60)
words = st.lists(st.sampled_from(["b", "a", "B", "10", "9", "unknown"]), min_size=1, max_size=60)


def split_of(rows: pd.DataFrame, seed: int = 666, share: float = 0.8) -> list[str]:
    return list(closed_set(rows, seed=seed, reference_share=share))


def plain_split(rows: pd.DataFrame, seed: int, share: float) -> dict[str, str]:
    """The description word for word, one row at a time."""
    state, result = seed, dict.fromkeys(rows["image_id"], "none")
    known = rows[rows["identity"] != "unknown"].sort_values("image_id")
    names = sorted(set(known["identity"]))
    if all(name.isdecimal() for name in names):
        names.sort(key=lambda name: (int(name), name))
    for name in names:
        ids = list(known.loc[known["identity"] == name, "image_id"])
        draws = []
        for _ in ids:
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            draws.append(state)
        train = round(share * len(ids))  # Python rounds half to even
        if train == len(ids) and train > 1:
            train -= 1
        train = max(train, 1)
        for place, drawn in enumerate(np.argsort(draws)):
            result[ids[drawn]] = "reference" if place < train else "query"
    return result


def test_the_published_split_of_740_lion_photos_is_reproduced() -> None:
    golden = pd.read_csv(GOLDEN, dtype=str, keep_default_na=False)
    assert len(golden) == 740
    published = golden["split"].map({"train": "reference", "test": "query"})
    shuffled = golden.sample(frac=1, random_state=0)
    ours = pd.Series(split_of(shuffled), shuffled.index)
    assert (ours.sort_index() == published).sum() == 740


def test_another_seed_gives_another_split() -> None:
    golden = pd.read_csv(GOLDEN, dtype=str, keep_default_na=False)
    assert split_of(golden, seed=667) != split_of(golden, seed=666)


def test_a_small_case_worked_out_by_hand() -> None:
    # States after 1: 1103527590, 377401575, 662824084, 1147902781, 2035015474.
    # a: photos 000 001 002 draw the first three; the smallest two of three are 001 and 002.
    # b: photos 003 004 draw the last two; one of two is reference, 003.
    rows = rows_of(["a", "a", "a", "b", "b"])
    assert split_of(rows, seed=1, share=0.8) == ["query", "reference", "reference", "reference", "query"]


def test_the_generator_is_the_sequential_one() -> None:
    state, expected = 666, []
    for _ in range(1000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        expected.append(state)
    for count in (0, 1, 2, 3, 4, 7, 8, 9, 1000):
        assert lcg(666, count).tolist() == expected[:count]


@pytest.mark.parametrize(
    ("photos", "references"),
    [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 6), (10, 8), (15, 12), (100, 80)],
)
def test_four_fifths_of_an_animals_photos_are_reference(photos: int, references: int) -> None:
    assert reference_counts(np.array([photos]), 0.8).tolist() == [references]


def test_halves_are_rounded_to_the_even_number() -> None:
    assert reference_counts(np.array([1, 3, 5, 7]), 0.5).tolist() == [1, 2, 2, 4]


@given(st.one_of(identities, words), st.integers(0, 2**31 - 1), st.sampled_from([0.1, 0.5, 0.8, 0.95]))
def test_it_agrees_with_the_description_word_for_word(names: list[str], seed: int, share: float) -> None:
    rows = rows_of(names)
    assert dict(zip(rows["image_id"], split_of(rows, seed, share), strict=True)) == plain_split(
        rows, seed, share
    )


@given(words, st.randoms())
def test_the_order_of_the_rows_does_not_matter(names: list[str], random: object) -> None:
    rows = rows_of(names)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    split = split_of(rows)
    assert split_of(rows.iloc[order]) == [split[place] for place in order]


@given(words, st.floats(0.05, 0.95))
def test_every_known_animal_has_a_reference_and_its_share(names: list[str], share: float) -> None:
    rows = rows_of(names).assign(split=split_of(rows_of(names), share=share))
    assert (rows["split"].eq("none") == rows["identity"].eq("unknown")).all()
    for _, photos in rows[rows["identity"] != "unknown"].groupby("identity"):
        references = photos["split"].eq("reference").sum()
        assert references >= 1
        assert len(photos) == 1 or references < len(photos)
        assert abs(references - share * len(photos)) <= 1


@settings(deadline=None)
@given(st.integers(2, 40))
def test_ids_that_are_integers_count_up_as_numbers(count: int) -> None:
    numbers = rows_of(["a"] * count, [str(number) for number in range(count)])
    padded = rows_of(["a"] * count, [f"x{number:03}" for number in range(count)])
    assert split_of(numbers) == split_of(padded)


@pytest.mark.slow
def test_a_million_photos_are_split_in_seconds() -> None:
    rng = np.random.default_rng(0)
    count = 1_000_000
    rows = pd.DataFrame(
        {
            "image_id": [f"{number:08x}" for number in rng.permutation(count)],
            "identity": rng.integers(0, 50_000, count).astype(str),
        }
    )
    started = time.process_time()
    split = closed_set(rows, seed=666, reference_share=0.8)
    assert time.process_time() - started < 60
    assert 0.78 < (split == "reference").mean() < 0.82
