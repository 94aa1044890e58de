"""A name means one photo or none, however it is written, and none is lost without a word."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_ray.datasets.paths import PathFinder

FILES = ["A0/C01/IMG_1.JPG", "A0/C01/IMG_2.JPG", "A1/C02/IMG_1.JPG", "top.jpg", "Zoé/x y.jpg"]


@pytest.mark.parametrize(
    ("name", "path", "how"),
    [
        ("A0/C01/IMG_1.JPG", "A0/C01/IMG_1.JPG", "exact"),
        ("A0\\C01\\IMG_1.JPG", "A0/C01/IMG_1.JPG", "spelling"),
        (" ./A0//C01/IMG_1.JPG ", "A0/C01/IMG_1.JPG", "spelling"),
        ("a0/c01/img_1.jpg", "A0/C01/IMG_1.JPG", "spelling"),
        ("Zoe\u0301/x y.jpg", "Zoé/x y.jpg", "spelling"),
        ("C:\\Users\\me\\lynx\\A0\\C01\\IMG_1.JPG", "A0/C01/IMG_1.JPG", "name"),
        ("/home/me/lynx/top.jpg", "top.jpg", "name"),
        ("gs://bucket/lynx/top.jpg", "top.jpg", "name"),
        ("C01/IMG_1.JPG", "A0/C01/IMG_1.JPG", "name"),
        ("card/C01/IMG_1.JPG", "A0/C01/IMG_1.JPG", "name"),
        ("IMG_2.JPG", "A0/C01/IMG_2.JPG", "name"),
        ("IMG_1.JPG", "", "several"),
        ("elsewhere/IMG_2.JPG", "", "missing"),
        ("../top.jpg", "", "missing"),
        ("a\0/top.jpg", "", "missing"),
        ("", "", "missing"),
    ],
)
def test_a_name_means(name: str, path: str, how: str) -> None:
    assert PathFinder(FILES).find([name]).by_name[name] == (path, how)


def test_a_photo_that_two_names_fit_is_meant_by_neither() -> None:
    found = PathFinder(["cam/1.jpg"]).find(["trip1/cam/1.jpg", "trip2/cam/1.jpg"])
    assert {match.how for match in found.by_name.values()} == {"shared"}


def test_a_photo_that_is_named_exactly_is_not_meant_by_an_end_as_well() -> None:
    found = PathFinder(["1.jpg"]).find(["1.jpg", "elsewhere/1.jpg"]).by_name
    assert found == {"1.jpg": ("1.jpg", "exact"), "elsewhere/1.jpg": ("", "shared")}


def test_files_that_differ_in_case_alone_are_kept_apart() -> None:
    finder = PathFinder(["a.jpg", "A.jpg"])
    assert finder.find(["a.jpg", "A.jpg"]).count("exact") == 2
    assert finder.find(["a.JPG"]).by_name["a.JPG"] == ("", "several")


def test_what_is_not_found_is_told_with_the_nearest_file() -> None:
    sentence = PathFinder(FILES).find(["A0/C01/IMG_1.JPG", "A0/C01/IMG_3.JPG"]).sentence()
    assert sentence == (
        "2 names of files: 1 exactly, 1 not found, for example A0/C01/IMG_3.JPG "
        "(the nearest file is A0/C01/IMG_2.JPG)"
    )


PART = st.sampled_from(["a", "B", "é", "1", "x y", "IMG_1.JPG", "img_1.jpg"])
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


def spelled(path: str, way: int) -> str:
    """The same path as others write it."""
    ways = (
        path, path.replace("/", "\\"), f" {path} ", path.upper(), unicodedata.normalize("NFD", path),
        f"./{path}", f"D:\\card\\{path}",
    )  # fmt: skip
    return ways[way]


def form(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


@settings(max_examples=150)
@given(st.sets(PATH, min_size=1, max_size=8), st.data())
def test_a_name_never_means_a_photo_of_another_end_and_is_always_counted(
    files: set[str], data: st.DataObject
) -> None:
    listed = data.draw(st.lists(st.tuples(PATH, st.integers(0, 6)), min_size=1, max_size=8))
    names = [spelled(path, way) for path, way in listed]
    found = PathFinder(sorted(files)).find(names)
    assert set(found.by_name) == set(names)
    by_tail: dict[str, set[str]] = {}
    for name, match in found.by_name.items():
        assert (match.path in files) == (match.how in ("exact", "spelling", "name"))
        if match.path:
            # What is found has the name's last part, and is the only file of the name's form.
            last = form(name.strip().replace("\\", "/").rpartition("/")[2])
            assert form(match.path.rpartition("/")[2]) == last
        if match.how == "name":
            by_tail.setdefault(match.path, set()).add(
                form(name.strip().replace("\\", "/").removeprefix("./"))
            )
    assert all(len(names_of) == 1 for names_of in by_tail.values())
    for path, way in listed:
        if path in files and way == 0:
            assert found.by_name[path] == (path, "exact")
