"""Names, identities and order of the table of photos."""

import hashlib

import pandas as pd
import pytest

from reid_ray.datasets import schema
from reid_ray.errors import DatasetError


@pytest.mark.parametrize("text", ["007", "1e5", "NA", "nan", "None", "true", "<script>", "=cmd"])
def test_an_identity_survives_as_it_is_written(text: str) -> None:
    assert list(schema.clean_identities(pd.Series([text, "other"]))) == [text, "other"]


def test_identities_are_stripped_and_composed() -> None:
    decomposed, composed = "Zoe\u0308", "Zo\u00eb"
    assert list(schema.clean_identities(pd.Series([f" {decomposed}\t"]))) == [composed]


@pytest.mark.parametrize("text", ["", "  ", None, float("nan"), "unknown", "Unknown", "UNKNOWN "])
def test_an_animal_without_a_name_is_unknown(text: object) -> None:
    cleaned = schema.clean_identities(pd.Series([text, "a"], dtype=object))
    assert list(cleaned) == ["unknown", "a"]


def test_identities_that_differ_in_case_alone_are_refused_and_listed() -> None:
    with pytest.raises(DatasetError, match=r"lion: 2 identities .*LEO / Leo / leo, STRASSE / straße"):
        schema.refuse_collisions(pd.Series(["leo", "Leo", "LEO", "straße", "STRASSE", "mia"]), dataset="lion")


def test_different_identities_do_not_collide() -> None:
    schema.refuse_collisions(pd.Series(["leo", "leo2", "leo"]), dataset="lion")


def test_integers_ascend_as_numbers_and_anything_else_as_strings() -> None:
    assert [["10", "9", "-2"][place] for place in schema.ascending(["10", "9", "-2"])] == ["-2", "9", "10"]
    words = ["10", "9", "b2", "B"]
    assert [words[place] for place in schema.ascending(words)] == sorted(words)
    assert list(schema.ascending([])) == []


def test_digits_of_other_scripts_are_no_integers() -> None:
    words = ["٣", "10", "9"]
    assert [words[place] for place in schema.ascending(words)] == ["10", "9", "٣"]


def test_an_id_made_from_a_path_is_16_hex_digits_of_its_md5() -> None:
    assert schema.id_of_path("leo/1.jpg") == hashlib.md5(b"leo/1.jpg").hexdigest()[:16]
