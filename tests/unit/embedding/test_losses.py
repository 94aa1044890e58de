"""The two losses by their formulas, and what each mining strategy selects."""

import itertools

import numpy as np
import pytest
import torch

from reid_ray.config.training import ArcFace, Triplet
from reid_ray.embedding.losses import ArcFaceHead, TripletHead, make_head


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def arcface_by_formula(
    embeddings: np.ndarray, centres: np.ndarray, labels: np.ndarray, margin_rad: float, scale: float
) -> float:
    """Mean of -log softmax of s cos(theta + m [own class]), Deng et al. 2019, equation 3.

    Beyond theta = pi - m, where that cosine would rise again, cos(theta) - m sin(m), as in their code.
    """
    own = np.arange(len(labels)), labels
    angles = np.arccos(unit(embeddings) @ unit(centres).T)
    logits = scale * np.cos(angles)
    far = angles[own] > np.pi - margin_rad
    beyond = np.cos(angles[own]) - margin_rad * np.sin(margin_rad)
    logits[own] = scale * np.where(far, beyond, np.cos(angles[own] + margin_rad))
    log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return float((log_sum - logits[own]).mean())


@pytest.mark.parametrize("scale", [1.0, 32.0, 64.0])
@pytest.mark.parametrize("margin_rad", [0.0, 0.25, 0.5, 0.75])
def test_arcface_is_the_cross_entropy_of_cosines_with_the_margin_added_to_the_angle(
    margin_rad: float, scale: float
) -> None:
    rng = np.random.default_rng(3)
    torch.manual_seed(0)
    head = ArcFaceHead(
        ArcFace(name="arcface", margin_rad=margin_rad, scale=scale), classes=5, dims=8
    ).double()
    embeddings, labels = rng.normal(size=(12, 8)), rng.integers(0, 5, 12)
    centres = head.loss.W.detach().numpy().T
    embeddings[0] = 0.1 * embeddings[0] - 3 * unit(centres)[labels[0]]  # nearly opposite to its class
    ours = float(head(torch.from_numpy(embeddings), torch.from_numpy(labels)))
    assert ours == pytest.approx(arcface_by_formula(embeddings, centres, labels, margin_rad, scale), rel=1e-6)


def test_an_arcface_margin_is_in_radians() -> None:
    # The embedding (1, 0) is 60 degrees from its own centre and 150 degrees from the other.
    head = ArcFaceHead(ArcFace(name="arcface", margin_rad=0.5, scale=2.0), classes=2, dims=2).double()
    with torch.no_grad():
        head.loss.W.copy_(torch.tensor([[0.5, -np.sqrt(0.75)], [np.sqrt(0.75), 0.5]]))
    own, other = 2 * np.cos(np.pi / 3 + 0.5), 2 * np.cos(np.pi * 5 / 6)
    expected = -own + np.log(np.exp(own) + np.exp(other))
    found = float(head(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([0])))
    assert found == pytest.approx(float(expected), rel=1e-6)


POWERS = {"l2_squared": 2, "l2": 1}


def distances(embeddings: np.ndarray, kind: str) -> np.ndarray:
    vectors = unit(embeddings)
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=2) ** POWERS[kind]


def triplets_by_brute_force(
    embeddings: np.ndarray, labels: np.ndarray, mining: str, margin: float, kind: str = "l2_squared"
) -> set[tuple[int, int, int]]:
    """Every (anchor, positive, negative) by the definitions of Schroff et al. 2015."""
    distance = distances(embeddings, kind)
    chosen = set()
    for a, p, n in itertools.product(range(len(labels)), repeat=3):
        if a == p or labels[a] != labels[p] or labels[a] == labels[n]:
            continue
        ap, an = distance[a, p], distance[a, n]
        selected = {"all": an - ap <= margin, "semi": ap < an <= ap + margin, "hard": an <= ap}
        if selected[mining]:
            chosen.add((a, p, n))
    return chosen


@pytest.mark.parametrize("kind", list(POWERS))
@pytest.mark.parametrize("mining", ["all", "semi", "hard"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_mining_strategy_selects_what_it_says(mining: str, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 20)
    embeddings = rng.normal(size=(4, 6))[labels] + 0.8 * rng.normal(size=(20, 6))
    head = TripletHead(Triplet(name="triplet", mining=mining, margin=0.2, distance=kind))  # type: ignore[arg-type]
    mined = head.miner(torch.from_numpy(embeddings), torch.from_numpy(labels))
    found = {tuple(map(int, triplet)) for triplet in zip(*mined, strict=True)}
    expected = triplets_by_brute_force(embeddings, labels, mining, 0.2, kind)
    assert found == expected
    assert 0 < len(expected) < len(triplets_by_brute_force(embeddings, labels, "all", 99.0))


@pytest.mark.parametrize("kind", list(POWERS))
@pytest.mark.parametrize("mining", ["all", "semi", "hard"])
def test_triplet_loss_is_the_mean_hinge_of_the_mined_triplets(mining: str, kind: str) -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(4), 4)
    embeddings = rng.normal(size=(4, 6))[labels] + 0.8 * rng.normal(size=(16, 6))
    setting = Triplet(name="triplet", mining=mining, margin=0.3, distance=kind)  # type: ignore[arg-type]
    head = make_head(setting, classes=4, dims=6)
    distance = distances(embeddings, kind)
    hinges = [
        distance[a, p] - distance[a, n] + 0.3
        for a, p, n in triplets_by_brute_force(embeddings, labels, mining, 0.3, kind)
    ]
    found = float(head(torch.from_numpy(embeddings), torch.from_numpy(labels)))
    assert found == pytest.approx(float(np.mean(hinges)), rel=1e-6)


def test_a_batch_without_any_triplet_has_no_loss_and_no_gradient() -> None:
    head = TripletHead(Triplet(name="triplet", mining="all", margin=0.3))
    embeddings = torch.randn(4, 6, requires_grad=True)
    loss = head(embeddings, torch.arange(4))
    loss.backward()
    assert float(loss) == 0.0
    assert embeddings.grad is not None
    assert float(embeddings.grad.abs().sum()) == 0.0
