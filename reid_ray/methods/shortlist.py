"""Local features behind a shortlist: matched are only the references that another method puts first.

In: a local-feature method and what its shortlist goes by. Out: a `Ready` per gallery.

All-pairs matching costs queries x references x keypoints^2; with B candidates per query it costs
queries x B x keypoints^2. Legend: a asked photos, g references, b candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.evaluation.ranking import concat, rank_in_order
from reid_ray.matching import vlad
from reid_ray.matching.shortlist import behind, candidates, curve_sizes, with_the_rest
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.listing import listed, ready_to_list, with_near
from reid_ray.methods.local_features import Asking, LocalFeatures, LocalScorer, request_size
from reid_ray.methods.places import Places, weights_of
from reid_ray.methods.ready import Known, Learnt, Method, Ready
from reid_ray.methods.scorer import Arrays, EmbeddingScorer, Outs, ScoreBlock, Scorer, blocks


@dataclass(frozen=True)
class ShortlistScorer:
    """A local-feature method that looks only at what `near` puts first.

    Equal scores, and the references that are not matched, rank in the order of `near`.

    Attributes:
        near: of the same gallery.
        size: candidates of each photo.
        sizes: lengths of the shortlist at which accuracy is measured.
    """

    near: Scorer
    local: LocalScorer
    size: int
    sizes: tuple[int, ...] = ()
    both_views = False
    pairwise = False

    @property
    def excludes_encounter(self) -> bool:
        return self.local.excludes_encounter

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        order = listed(self.near, gallery, asked, outs[0])
        chosen = candidates(order, outs[0], self.size)
        found = self.local.score_candidates(gallery, asked, chosen)
        every = [with_the_rest(*one) for one in zip(chosen, found, outs[0], strict=True)]
        return ScoreBlock(np.stack(every)[None], order)

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        """Candidates without the own encounter would be others, to be matched once more, so there is no
        second view.

        Also measured, bool [a, sizes]: whether the right animal is `among` the first so many, and
        whether the best-scored of them is `right`; `known`, bool [a]: whether it has a reference.
        """
        found, curves = [], []
        for few in blocks(asked):
            out = gallery.excluded(few, encounter=self.excludes_encounter)
            order = listed(self.near, gallery, few, out)
            longest = candidates(order, out, max([self.size, *self.sizes]))
            for row, photo in enumerate(few):
                scores_of = self._scores_of(gallery, photo, longest[row])
                chosen, label = longest[row][: self.size], int(gallery.labels[photo])
                scores = with_the_rest(chosen, scores_of(self.size), out[row])
                found.append(
                    rank_in_order(scores, order[row], label, gallery.labels_g, k=k, left_out_g=out[row])
                )
                curves.append(behind(self.sizes, gallery.labels_g[longest[row]] == label, scores_of))
        among, right = (np.array([one[side] for one in curves]) for side in (0, 1))
        known = np.isin(gallery.labels[asked], gallery.labels_g)
        measured = {"measured_among": among, "measured_right": right, "measured_known": known}
        return {**concat(found).arrays(), **measured}

    def _scores_of(
        self, gallery: Gallery, photo: int, longest: Positions
    ) -> Callable[[int], NDArray[np.float32]]:
        """Scores of the first so many candidates; of pairwise scores all are made once."""

        def score(size: int) -> NDArray[np.float32]:
            return self.local.score_candidates(gallery, np.array([photo]), [longest[:size]])[0]

        return partial(_first, score(len(longest))) if self.local.pairwise else score

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        return self.local.even(scores)


def _first(scores: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return scores[:size]


@dataclass(frozen=True)
class Shortlisted:
    """A local-feature method behind a shortlist.

    Attributes:
        local: its config has the shortlist.
        near: what the shortlist goes by, any method; None: VLAD, a global descriptor of the local features.
        near_folder: where `near` keeps its finished work in a study, which is then used again.
        near_learnt: what `near` has learnt, by fingerprint.
    """

    local: LocalFeatures
    near: Method | None = None
    near_folder: Path | None = None
    near_learnt: Mapping[str, Learnt] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.local.name

    @property
    def trained(self) -> bool:
        return self.near is not None and self.near.trained

    def check(self) -> None:
        if self.near is not None:
            self.near.check()
        self.local.check()

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> list[Ready]:
        """As the local features, whose setting is chosen behind the shortlist."""
        known, found = learnt or {}, []
        for gallery in galleries:
            near = None
            if self.near is not None:
                near = ready_to_list(
                    self.near, gallery, bench, known, had=self.near_learnt, folder=self.near_folder
                )
                if near is None:
                    continue
            found.append(self._prepare(gallery, bench, near, known.get(gallery.fingerprint), folder))
        return found

    def _prepare(
        self, gallery: Gallery, bench: Bench, near: Ready | None, learnt: Learnt | None, folder: Path | None
    ) -> Ready:
        config = self.local.config
        assert config.shortlist is not None
        gallery = gallery.under(config)
        lister = None if near is None else near.scorer
        if learnt is None:
            learnt, unvalidated = (
                self._learnt(own, near, validated=validated)
                for own, validated in zip(
                    self._choose(gallery, bench, lister, folder), (True, False), strict=True
                )
            )
        else:
            unvalidated = learnt
        ready = self.local.prepare([gallery], bench, learnt={gallery.fingerprint: learnt}, folder=folder)[0]
        assert isinstance(ready.scorer, LocalScorer)
        sizes = measured_sizes(config, gallery.references)
        scorer = ShortlistScorer(
            lister or vlad_scorer(ready.scorer, gallery, bench), ready.scorer, config.shortlist.size, sizes
        )
        size = request_size(config, gallery.references)
        return replace(
            ready,
            method=self,
            scorer=scorer,
            shared=(bench.share(scorer), ready.shared[1]),
            learnt=learnt,
            unvalidated=unvalidated,
            size=size if near is None else min(size, near.size),
            matched=min(gallery.references, max([config.shortlist.size, *sizes])),
        )

    def _learnt(self, own: Learnt, near: Ready | None, *, validated: bool) -> Learnt:
        """With what the shortlist's method has learnt, and its weights of places where these count.

        Args:
            validated: the method to be used; else as no validation photo taught it. (A fusion's curves are
                the same for both: they decide only what is looked at.)
        """
        if near is None:
            return own
        taught = near.learnt if validated or near.unvalidated is None else near.unvalidated
        if self.local.config.place_weights == "auto":
            weights = weights_of(taught)
            note = f"votes count alike wherever they come from, as those of {near.method.name} do"
            own = {**own, "places": Places(weights, note="" if weights else note).as_json()}
        return with_near(own, taught)

    def _choose(
        self, gallery: Gallery, bench: Bench, near: Scorer | None, folder: Path | None
    ) -> tuple[Learnt, Learnt]:
        """As `LocalFeatures` does, behind the shortlist."""
        work = None if folder is None else folder / "chunks" / self.local.work_key(gallery)
        asking = Asking(self.local.config, gallery, bench, work)
        best: tuple[float, Learnt, Learnt] | None = None
        for number, extractor in enumerate(self.local.extractors):
            references, _ = self.local.sides(gallery, bench, extractor)
            lister = near
            if lister is None:
                one = self.local.config.model_copy(update={"extractor": extractor})
                features = bench.features(gallery.photos[: gallery.references], one)
                lister = EmbeddingScorer.of(vlad.describe(features, vlad.learn_centres(features)))
            tuned = asking.tune(references, extractor=number, trained=self.trained, near=lister)
            if best is None or tuned[0][0].best > best[0]:
                both = [self.local.plain(number, pair) for pair in tuned]
                best = tuned[0][0].best, both[0], both[1]
        assert best is not None
        return best[1], best[2]


def vlad_scorer(local: LocalScorer, gallery: Gallery, bench: Bench) -> EmbeddingScorer:
    """VLAD vectors of a gallery's photos, from the features that a method has taken."""
    features = bench.features(gallery.photos[: gallery.references], local.config)
    centres = vlad.learn_centres(features)
    both = [vlad.describe(side, centres) for side in (features, local.queries)]
    return EmbeddingScorer.of(np.concatenate(both))


def measured_sizes(config: Matching, references: int) -> tuple[int, ...]:
    """Lengths of the shortlist at which accuracy is measured."""
    if config.shortlist is None or config.shortlist.curve == "none":
        return ()
    whole = config.shortlist.curve == "all"
    return tuple(curve_sizes(references if whole else min(config.shortlist.size, references)))
