"""An embedding whose best references are put in order again by k-reciprocal neighbours.

In: vectors of a gallery. Out: a scorer, with parameters chosen on the references alone.

Legend: a asked photos, g references, s settings.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.models import KReciprocal
from reid_ray.evaluation.reciprocal import Reciprocal, reciprocal_distances
from reid_ray.matching.shortlist import candidates, nearest_first, with_the_rest
from reid_ray.methods.bench import Bench, answers
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.leave_one_out import asked_references, sample
from reid_ray.methods.ready import Learnt, Params
from reid_ray.methods.scorer import Arrays, EmbeddingScorer, Outs, ScoreBlock, rank_blocks

PHOTOS_PER_REQUEST = 64
PLAIN = Reciprocal(weight=1.0)
"""The embedding's own order; of equals it is taken."""


@dataclass(frozen=True)
class ReciprocalScorer:
    """Minus the distance by k-reciprocal neighbours, among the references that the embedding puts first; the
    others follow in its order.

    Attributes:
        near: of the same gallery.
        size: references that are put in order again.
        setting: its parameters.
    """

    near: EmbeddingScorer
    size: int
    setting: Reciprocal
    both_views = True
    excludes_encounter = False
    pairwise = False

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        order = nearest_first(self.near.units[asked], self.near.units[: gallery.references])
        found = np.empty((len(outs), *order.shape), np.float32)
        for view, out in enumerate(outs):
            for row, chosen in enumerate(candidates(order, out, self.size)):
                (distances,) = self._distances(int(asked[row]), chosen, [self.setting])
                found[view, row] = with_the_rest(chosen, -distances, out[row])
        return ScoreBlock(found, order)

    def _distances(self, photo: int, chosen: Positions, settings: list[Reciprocal]) -> NDArray[np.float32]:
        """Of a photo's candidates, float32 [s, candidates]."""
        return reciprocal_distances(self.near.units[np.concatenate([[photo], chosen])], settings)

    def right(
        self, gallery: Gallery, asked: Positions, out: NDArray[np.bool_], settings: list[Reciprocal]
    ) -> NDArray[np.bool_]:
        """Whether each setting puts a photo of the right animal first, bool [a, s]; ties: the nearer."""
        order = nearest_first(self.near.units[asked], self.near.units[: gallery.references])
        found = np.zeros((len(asked), len(settings)), bool)
        for row, chosen in enumerate(candidates(order, out, self.size)):
            if len(chosen):
                best = chosen[self._distances(int(asked[row]), chosen, settings).argmin(axis=1)]
                found[row] = gallery.labels[best] == gallery.labels[asked[row]]
        return found

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        return rank_blocks(self, gallery, asked, k=k).arrays()

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        return scores


@dataclass(frozen=True)
class ReciprocalTuneRequest:
    """Ask some references among the others with every setting: `right`, bool [a, s]."""

    asked: Positions
    hidden_g: NDArray[np.bool_] | None
    settings: list[Reciprocal]

    def run(self, scorer: ReciprocalScorer, gallery: Gallery) -> Arrays:
        out = gallery.excluded(self.asked, encounter=True, hidden_g=self.hidden_g)
        return {"right": scorer.right(gallery, self.asked, out, self.settings)}


def settings_of(config: KReciprocal) -> list[Reciprocal]:
    """What may be chosen, the embedding's own order first."""
    return [
        PLAIN,
        *(
            Reciprocal(k1, k2, weight)
            for k1 in config.k1
            for k2 in config.k2
            for weight in config.weights
            if weight < 1
        ),
    ]


def tuned(
    config: KReciprocal, near: EmbeddingScorer, gallery: Gallery, bench: Bench, *, trained: bool
) -> tuple[Learnt, Learnt]:
    """The setting that names most references rightly, asked among those of other encounters: to be used, then
    as no validation photo chose it, which of a trained network is its own order: no other photo may be asked.
    """
    sides = [asked_references(gallery, trained=trained, most=config.leave_one_out_queries, seed=config.seed)]
    if gallery.trained.any() and not gallery.trained.all():
        able = np.zeros(0, np.int64) if trained else np.flatnonzero(gallery.trained)
        some = sample(len(able), most=config.leave_one_out_queries, seed=config.seed)
        sides.append((able[some], ~gallery.trained))
    settings = settings_of(config)
    scorer = ReciprocalScorer(near, config.size, PLAIN)
    shared = bench.share(scorer), bench.share(gallery)
    found: list[Learnt] = []
    for asked, hidden in sides:
        ask = partial(ReciprocalTuneRequest, hidden_g=hidden, settings=settings)
        right = [one["right"] for one in answers(bench, asked, PHOTOS_PER_REQUEST, ask, *shared)]
        share = np.concatenate(right).mean(axis=0) if right else np.zeros(len(settings))
        best = int(np.argmax(share))
        found.append({"reciprocal": list(settings[best]), "top1": round(float(share[best]), 9)})
    return found[0], found[-1]


def params(learnt: Learnt) -> Params:
    """What was chosen, for people."""
    k1, k2, weight = learnt["reciprocal"]
    chosen = "off" if weight == 1 else f"k1 {k1}, k2 {k2}, weight {weight:g}"
    return {"k_reciprocal": chosen, "leave_one_out_top1": round(learnt["top1"], 4)}
