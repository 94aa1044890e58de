"""The fused kernel and sketches against plain numpy, on random and on extreme descriptors."""

import numpy as np
import pytest
from feature_images import image_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid_ray.matching import best_two, fused, vnni
from reid_ray.matching.engine import Packed, Product, count_block, nearest_images
from reid_ray.matching.features import Features
from reid_ray.matching.packed import tiles
from reid_ray.matching.sketch import LONGEST, Basis, Sketches

needs_vnni = pytest.mark.skipif(not vnni.supported(), reason="no AVX-512 VNNI here")
LIMITS = (0.2, 0.5, 0.6, 0.9, 1.0)
KINDS = ("any", "ends", "equal", "few", "near", "flat", "flat")


def descriptors(kind: str, count: int, length: int, seed: int) -> NDArray[np.uint8]:
    """Bytes [count, length]: any, only 0 and 255, all equal, with many ties, close to few, or in
    few directions, so that sketches are nearly as far apart as the descriptors.
    """
    rng = np.random.default_rng(seed)
    if kind == "ends":
        return rng.choice(np.array([0, 255], np.uint8), (count, length))
    if kind == "equal":
        return np.full((count, length), rng.integers(0, 256), np.uint8)
    if kind == "few":
        return rng.integers(0, 2, (count, length), dtype=np.uint8)
    if kind == "flat":
        directions = np.random.default_rng(0).normal(size=(40, length)) * 6
        spread = rng.normal(size=(count, 40)) @ directions + 120
        return np.asarray(np.clip(spread, 0, 255), np.uint8)
    if kind == "near":
        centres = np.random.default_rng(7).integers(20, 230, (30, length))
        noise = rng.normal(0, rng.uniform(1, 9), (count, length))
        return np.asarray(centres[rng.integers(0, 30, count)] + noise, np.uint8)
    return rng.integers(0, 256, (count, length), dtype=np.uint8)


@st.composite
def collections(draw: st.DrawFn) -> tuple[Features, Features]:
    """Two collections of images of 0 to 70 descriptors (blocks are of 4, panels of 16)."""
    length = draw(st.sampled_from([128, 128, 128, 1, 6, 60, 100, 256]))
    sides = []
    for _ in range(2):
        sizes = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 15, 16, 17, 33, 70]), min_size=1, max_size=5))
        kind, seed = draw(st.sampled_from(KINDS)), draw(st.integers(0, 10**6))
        sides.append(
            Features.pack(image_of(descriptors(kind, size, length, seed + i)) for i, size in enumerate(sizes))
        )
    return sides[0], sides[1]


def squared_distances(looking: NDArray[np.uint8], searched: NDArray[np.uint8]) -> NDArray[np.int64]:
    a, b = looking.astype(np.int64), searched.astype(np.int64)
    found: NDArray[np.int64] = ((a[:, None] - b[None]) ** 2).sum(-1)
    return found


def counted(looking: NDArray[np.uint8], searched: NDArray[np.uint8], *, mutual: bool) -> list[int]:
    """Matches per limit, as the definition has it."""
    if len(looking) < 2 or len(searched) < 2:
        return [0] * len(LIMITS)
    distances = squared_distances(looking, searched)
    two = np.sort(distances, axis=1)[:, :2].astype(np.float32)
    back = distances.argmin(axis=0)[distances.argmin(axis=1)] == np.arange(len(looking))
    with np.errstate(invalid="ignore"):
        ratios = two[:, 0] / two[:, 1]
    return [int(((ratios < np.float32(t)) & (back | (not mutual))).sum()) for t in LIMITS]


def versions(features: Features) -> list[tuple[Product, Packed]]:
    """Every way to count, with sketches too where the descriptors are long enough."""
    packed = Packed.of(features)
    ways: list[tuple[Product, Packed]] = [("float32", packed), ("int8", packed)]
    if vnni.supported():
        ways.append(("fused", packed))
        if packed.descriptors.shape[1] % 64 == 0 and len(packed.descriptors) > 1:
            ways.append(("fused", packed.sketched(Basis.learn(packed.descriptors))))
    return ways


@settings(max_examples=60, deadline=None)
@given(collections(), st.booleans(), st.booleans())
def test_counts_are_those_of_the_definition(
    sides: tuple[Features, Features], mutual: bool, turned: bool
) -> None:
    queries, references = sides
    expected = np.zeros((len(queries), len(references), len(LIMITS)), np.int32)
    for q in range(len(queries)):
        for g in range(len(references)):
            pair = queries.image(q).descriptors, references.image(g).descriptors
            expected[q, g] = counted(*(pair if turned else pair[::-1]), mutual=mutual)
    for product, packed in versions(references):
        found = count_block(
            Packed.of(queries),
            0,
            len(queries),
            packed,
            LIMITS,
            mutual=mutual,
            product=product,
            direction="query_to_reference" if turned else "reference_to_query",
        )
        np.testing.assert_array_equal(found, expected, product)


@settings(max_examples=40, deadline=None)
@given(collections(), st.integers(1, 4), st.integers(0, 2**25 - 1))
def test_nearest_images_are_those_of_the_definition(
    sides: tuple[Features, Features], kept: int, bits: int
) -> None:
    queries, references = sides
    shape = len(queries), len(references)
    out_qg = np.array([bits >> i & 1 for i in range(shape[0] * shape[1])], bool).reshape(shape)
    lists = []
    for q in range(shape[0]):
        by_image = [
            (squared_distances(queries.image(q).descriptors, references.image(g).descriptors), g)
            for g in range(shape[1])
            if len(references.image(g)) and not out_qg[q, g]
        ]
        for row in range(len(queries.image(q))):
            nearest = sorted((int(d[row].min()), g) for d, g in by_image)[:kept]
            lists.append([g for _, g in nearest] + [-1] * (kept - len(nearest)))
    for product, packed in versions(references):
        distances, images = nearest_images(
            Packed.of(queries), 0, shape[0], packed, kept=kept, left_out_qg=out_qg, product=product
        )
        assert images.tolist() == lists, product
        for row, found in enumerate(images):
            for place, g in enumerate(found[found >= 0]):
                own = queries.descriptors[row : row + 1]
                exact = squared_distances(own, references.image(int(g)).descriptors).min()
                assert distances[row, place] == exact


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 10**6))
def test_sketches_never_claim_more_than_the_distance(learned: str, kind: str, seed: int) -> None:
    basis = Basis.learn((descriptors(learned, 300, 128, seed) ^ 0x80).view(np.int8))
    bytes_ = np.concatenate([descriptors(kind, 40, 128, seed + 1), descriptors("ends", 20, 128, seed)])
    sketches = Sketches.of((bytes_ ^ 0x80).view(np.int8), basis)
    codes = sketches.codes.astype(np.float64)
    assert (codes**2).sum(1).max() <= LONGEST
    between = float(basis.step) * np.sqrt(((codes[:, None] - codes[None]) ** 2).sum(-1))
    claimed = between - sketches.slack[:, None] - sketches.slack[None]
    assert (claimed <= np.sqrt(squared_distances(bytes_, bytes_))).all()


def near_images(seed: int, count: int = 10, size: int = 300) -> Packed:
    """Images of descriptors that vary in 40 directions, like real ones in few."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(0).normal(size=(40, 128)) * 12
    images = [rng.normal(size=(size, 40)) @ shape + 100 for _ in range(count)]
    return Packed.of(Features.pack(image_of(np.clip(one, 0, 255).astype(np.uint8)) for one in images))


@needs_vnni
def test_sketches_settle_nearly_all_columns_at_a_low_limit_and_not_at_a_high_one() -> None:
    searched = near_images(1)
    looking = near_images(2)
    basis = Basis.learn(searched.descriptors)
    rows = best_two.rows_of(searched.sketched(basis))
    tile = next(tiles(looking.offsets, fused.TILE_COLUMNS, whole=False))
    columns = best_two.columns_of(looking.sketched(basis), slice(tile.first, tile.last))
    found = best_two.found_for(rows, columns)
    left = []
    for highest in (0.3, 1.0):
        count = 0
        for p in range(len(columns.panels)):
            best_two.fold_sketches(rows, columns, 0, p, found)
            best_two._settle(rows, columns, 0, p, np.float32(highest), found)
            count += int((found.limits > best_two._NONE).sum())
        left.append(count)
    assert left[0] < 0.05 * tile.width < 0.5 * tile.width < left[1]


@needs_vnni
@pytest.mark.parametrize("mutual", [False, True])
def test_sketches_change_no_count_over_many_images(mutual: bool) -> None:
    searched, looking = near_images(3), near_images(4)
    sketched = searched.sketched(Basis.learn(searched.descriptors))
    for limits in ((0.3,), (0.6,), LIMITS):
        plain, fast = (
            count_block(looking, 0, 10, side, limits, mutual=mutual, product="fused")
            for side in (searched, sketched)
        )
        assert plain.sum() > 0 or limits == (0.3,)
        np.testing.assert_array_equal(fast, plain)


@needs_vnni
def test_the_largest_image_that_keys_have_room_for_is_counted_by_sketches() -> None:
    many, few = near_images(6, count=1, size=4096), near_images(7, count=2, size=40)
    # The nearest two of some are the last rows.
    many.descriptors[-2:] = few.descriptors[:2]
    many = Packed(
        many.descriptors,
        np.einsum("kd,kd->k", many.descriptors, many.descriptors, dtype=np.float32),
        many.offsets,
    )
    plain, fast = (
        count_block(few, 0, 2, side, LIMITS, direction="query_to_reference", product="fused")
        for side in (many, many.sketched(Basis.learn(many.descriptors)))
    )
    assert plain[0, 0, 0] >= 2
    np.testing.assert_array_equal(fast, plain)


@needs_vnni
def test_an_image_of_more_rows_than_a_key_has_room_for_is_compared_whole() -> None:
    rng = np.random.default_rng(5)
    many = Packed.of(Features.pack([image_of(rng.integers(0, 9, (4200, 128), dtype=np.uint8))]))
    few = many.part(0, 1)
    few = Packed(few.descriptors[4090:4130], few.norms[4090:4130], np.array([0, 40]))
    for product, side in (("float32", many), ("fused", many), ("fused", many.sketched())):
        found = count_block(few, 0, 1, side, (0.9,), direction="query_to_reference", product=product)
        assert found.tolist() == [[[40]]]


def test_sketches_follow_parts_and_copies_and_only_long_byte_collections_get_them() -> None:
    rng = np.random.default_rng(6)
    sizes = [2000, 0, 1500, 1000]
    packed = Packed.of(Features.pack(image_of(rng.integers(0, 256, (n, 128), dtype=np.uint8)) for n in sizes))
    whole = packed.sketched()
    assert whole.sketches is not None
    assert whole.nbytes == packed.nbytes + 4500 * (48 + 4)
    part, taken = whole.part(2, 4).sketches, whole.take([3, 0]).sketches
    assert part is not None
    assert taken is not None
    np.testing.assert_array_equal(part.codes, whole.sketches.codes[2000:])
    np.testing.assert_array_equal(taken.codes[:1000], whole.sketches.codes[3500:])
    np.testing.assert_array_equal(taken.slack[1000:], whole.sketches.slack[:2000])
    floats = Packed.of(Features.pack([image_of(rng.random((5000, 256), dtype=np.float32))]))
    for other in (packed.part(1, 3), floats):
        assert other.sketched().sketches is None
