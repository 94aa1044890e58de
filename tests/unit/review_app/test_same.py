"""Groups follow from verdicts on pairs, and verdicts that contradict each other are told."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reid_ray.review_app.same import DIFFERENT, SAME, UNSURE, apart, contradictions, groups_of, key_of

PHOTOS = list("abcdefg")
VERDICTS = st.dictionaries(
    st.sampled_from(list(combinations(PHOTOS, 2))), st.sampled_from([SAME, DIFFERENT, UNSURE])
)


def test_what_is_the_same_as_the_same_is_the_same() -> None:
    verdicts = {("a", "b"): SAME, ("b", "c"): SAME, ("c", "d"): UNSURE, ("d", "e"): DIFFERENT}
    assert groups_of("abcde", verdicts) == [("a", "b", "c"), ("d",), ("e",)]
    assert contradictions(verdicts, {}) == []


@given(VERDICTS)
def test_groups_are_the_connected_components(verdicts: dict[tuple[str, str], str]) -> None:
    same = [(PHOTOS.index(a), PHOTOS.index(b)) for (a, b), what in verdicts.items() if what == SAME]
    rows, columns = zip(*same, strict=True) if same else ((), ())
    _, label = connected_components(coo_array(([1] * len(same), (rows, columns)), shape=(7, 7)))
    ours = {photo: number for number, group in enumerate(groups_of(PHOTOS, verdicts)) for photo in group}
    for a, b in combinations(PHOTOS, 2):
        assert (ours[a] == ours[b]) == (label[PHOTOS.index(a)] == label[PHOTOS.index(b)])


@given(VERDICTS)
def test_there_is_a_contradiction_where_and_only_where_no_truth_fits(
    verdicts: dict[tuple[str, str], str],
) -> None:
    """Two photos that were found different cannot be in one component; else the components are a truth."""
    component = {photo: group for group in groups_of(PHOTOS, verdicts) for photo in group}
    broken = {
        key for key, what in verdicts.items() if what == DIFFERENT and component[key[0]] == component[key[1]]
    }
    told = contradictions(verdicts, {})
    assert {key_of(one.chain[0], one.chain[-1]) for one in told} == broken
    for one in told:
        assert all(verdicts[key_of(a, b)] == SAME for a, b in zip(one.chain, one.chain[1:], strict=False))
        assert one.photos == frozenset(component[one.chain[0]])


def test_a_chain_that_a_verdict_contradicts_is_shown_and_nothing_is_resolved() -> None:
    verdicts = {("a", "b"): SAME, ("b", "c"): SAME, ("a", "c"): DIFFERENT}
    (one,) = contradictions(verdicts, {})
    assert one.chain == ("a", "b", "c")
    assert one.why == "a and c were found different"
    assert groups_of("abc", verdicts) == [("a", "b", "c")]


def test_two_names_in_a_group_and_one_name_in_two_are_contradictions() -> None:
    verdicts = {("a", "b"): SAME, ("c", "d"): DIFFERENT}
    (two,) = contradictions(verdicts, {"a": "leo", "b": "mia"})
    assert (two.why, two.photos) == ("a is called leo, and b is called mia", {"a", "b"})
    (nobody,) = contradictions(verdicts, {"a": "unknown", "b": "leo"})
    assert nobody.why == "b is called leo, and a was said to show nobody known"
    (one,) = contradictions(verdicts, {"c": "leo", "d": "leo"})
    assert (one.why, one.photos) == ("c and d were found different, and both are called leo", {"c", "d"})
    assert contradictions(verdicts, {"a": "leo", "b": "leo", "c": "unknown", "d": "unknown"}) == []


def test_groups_of_which_one_pair_is_different_are_apart() -> None:
    verdicts = {("a", "b"): SAME, ("b", "c"): DIFFERENT}
    assert apart(("a", "b"), ("c",), verdicts)
    assert not apart(("a", "b"), ("d",), verdicts)
