"""Several methods that answer as one. In: the methods, a config. Out: a `Ready` per gallery, with curves
and weights fitted on pairs of reference photos.

Legend: a asked photos, g references, p parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.fusion import VLAD, Fusion
from reid_ray.errors import DatasetError
from reid_ray.evaluation.fusion import FOLDS, SURE, Fitted, Fused, Pairs, fit, log_odds, sample_pairs
from reid_ray.matching.scoring import EXCLUDED
from reid_ray.matching.shortlist import candidates, spread
from reid_ray.methods.bench import Bench, answers
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.leave_one_out import asked_references
from reid_ray.methods.listing import NEAR, listed, ready_to_list, with_near
from reid_ray.methods.local_features import PAIRS_PER_REQUEST, LocalScorer
from reid_ray.methods.ready import Known, Learnt, Method, Params, Ready
from reid_ray.methods.scorer import Arrays, EmbeddingScorer, Outs, ScoreBlock, Scorer, blocks, rank_blocks
from reid_ray.methods.shortlist import ShortlistScorer, vlad_scorer
from reid_ray.runs.methods import method_key

FEWEST_SAME = 20
"""A gallery with fewer pairs of one animal to fit on is fitted with the pairs of all galleries."""
_UNMATCHED = np.float32(-1)


@dataclass(frozen=True)
class FusionScorer:
    """The parts' scores, each made into a probability, averaged.

    Attributes:
        parts: scorers of the same gallery.
        fused: curves and weights; None while they are being fitted.
        near, size: the fusion's own shortlist; None: all references.
        excludes_encounter: whether any part leaves the own encounter out.
    """

    parts: tuple[Scorer, ...]
    fused: Fused | None
    near: Scorer | None = None
    size: int | None = None
    excludes_encounter: bool = False
    # A part's curve holds for the references it was fitted with: there is no second view.
    both_views = False

    @property
    def pairwise(self) -> bool:
        return self.near is None and all(part.pairwise for part in self.parts)

    def part_scores(
        self, gallery: Gallery, asked: Positions, out: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], Positions | None]:
        """Scores [a, g, p], NaN off the shortlist, and the shortlist's order."""
        order = chosen = None
        if self.near is not None and self.size is not None:
            order = listed(self.near, gallery, asked, out)
            chosen = candidates(order, out, self.size)
        each = [_of_part(part, gallery, asked, out, chosen) for part in self.parts]
        return np.stack(each, axis=-1), order

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        """The average, 0..1; equal ones (curves have flat steps) rank as `Fused.best_first` says, those
        off the shortlist behind, in its order, at -1.
        """
        assert self.fused is not None
        scores, near_order = self.part_scores(gallery, asked, outs[0])
        found = np.full(outs[0].shape, _UNMATCHED)
        order = np.empty(outs[0].shape, np.int64)
        for row, out_g in enumerate(outs[0]):
            places = np.flatnonzero(~np.isnan(scores[row]).any(axis=1))
            found[row, places] = self.fused.average(scores[row, places])
            listed = places[self.fused.best_first(scores[row, places])]
            rest = np.arange(len(out_g)) if near_order is None else near_order[row]
            order[row] = np.concatenate([listed, rest[~np.isin(rest, listed)]])
            found[row, out_g] = EXCLUDED
        return ScoreBlock(found[None].astype(np.float32), order)

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        return rank_blocks(self, gallery, asked, k=k).arrays()

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Log-odds; what was not matched lies below all of them."""
        odds = np.where(scores < 0, np.log(SURE) - 1, log_odds(scores))
        return np.where(np.isfinite(scores), odds, EXCLUDED)


def _of_part(
    part: Scorer, gallery: Gallery, asked: Positions, out: NDArray[np.bool_], chosen: list[Positions] | None
) -> NDArray[np.float32]:
    """One part's scores [a, g]; NaN off the shortlist."""
    if isinstance(part, ShortlistScorer):  # its shortlist is the fusion's own
        part = part.local
    if chosen is not None and isinstance(part, LocalScorer):
        return spread(part.score_candidates(gallery, asked, chosen), chosen, out.shape[1], np.nan)
    return np.asarray(part.scores(gallery, asked, [out]).scores[0])


@dataclass(frozen=True)
class PairsRequest:
    """The fields of `Pairs` of some asked photos."""

    asked: Positions
    hidden_g: NDArray[np.bool_] | None
    seed: int

    def run(self, scorer: FusionScorer, gallery: Gallery) -> Arrays:
        found = []
        for few in blocks(self.asked):
            out = gallery.excluded(few, encounter=scorer.excludes_encounter, hidden_g=self.hidden_g)
            scores, _ = scorer.part_scores(gallery, few, out)
            for row, own in enumerate(few):
                found.append(
                    sample_pairs(
                        scores[row],
                        gallery.labels_g == gallery.labels[own],
                        ~out[row] & ~np.isnan(scores[row]).any(axis=1),
                        query=int(own),
                        animal=int(gallery.labels[own]),
                        rng=np.random.default_rng((self.seed, int(own))),
                    )
                )
        return dict(vars(Pairs.concat(found)))


@dataclass(frozen=True)
class Fusing:
    """A fusion of other methods.

    Attributes:
        parts: in the config's order.
        near: what its own shortlist goes by, any method; None: VLAD of the first local features, or no
            shortlist.
        near_folder, near_learnt: as in `Shortlisted`.
        part_folders: where the parts of a study keep their finished work, which is then used again.
        part_learnt: what the parts have learnt, by part and fingerprint.
    """

    config: Fusion
    parts: tuple[Method, ...]
    near: Method | None = None
    part_folders: tuple[Path | None, ...] = ()
    part_learnt: tuple[Mapping[str, Learnt], ...] = ()
    near_folder: Path | None = None
    near_learnt: Mapping[str, Learnt] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def trained(self) -> bool:
        return any(part.trained for part in self.parts) or (self.near is not None and self.near.trained)

    def check(self) -> None:
        for one in (*self.parts, *([self.near] if self.near is not None else [])):
            one.check()

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> list[Ready]:
        """Curves and weights of each gallery; of all together where one has too few pairs.

        Raises:
            DatasetError: nothing to fit on.
        """
        known = learnt or {}
        ready = self.joined(galleries, bench, known)
        missing = [one for one in ready if one.gallery.fingerprint not in known]
        # All galleries are asked before any is fitted: small ones borrow the others' pairs.
        pairs = [self._pairs(one, bench, folder) for one in missing]
        fitted = dict(zip([id(one) for one in missing], self._fit(missing, pairs), strict=True))
        found = []
        for one in ready:
            had = known.get(one.gallery.fingerprint)
            own = fitted[id(one)] if had is None else None
            fused = own.fused if own else Fused.from_json((had or {})["fused"])
            found.append(self._fitted(one, bench, fused, own, folder, had))
        return found

    def joined(self, galleries: Sequence[Gallery], bench: Bench, known: Mapping[str, Learnt]) -> list[Ready]:
        """The parts made ready, without curves; galleries that a part does not know are left out."""
        of_parts = []
        for place, part in enumerate(self.parts):
            had = self.part_learnt[place] if self.part_learnt else {}
            had = {**had, **{key: one["parts"][place] for key, one in known.items()}}
            folder = self.part_folders[place] if self.part_folders else None
            ready = part.prepare(galleries, bench, learnt=had, folder=folder)
            of_parts.append({one.gallery.name: one for one in ready})
        found = []
        for gallery in galleries:
            ready_parts = [of.get(gallery.name) for of in of_parts]
            parts = [one for one in ready_parts if one is not None]
            if len(parts) < len(of_parts):
                continue
            near = self._near(gallery, bench, known)
            lister = near.scorer if near is not None else self._vlad(gallery, bench, parts)
            if self.config.shortlist is None or lister is not None:
                found.append(self._unfitted(gallery, bench, parts, lister, near))
        return found

    def _near(self, gallery: Gallery, bench: Bench, known: Mapping[str, Learnt]) -> Ready | None:
        """What the fusion's own shortlist goes by; None without one, or where it does not know them."""
        if self.config.shortlist is None or self.near is None:
            return None
        return ready_to_list(self.near, gallery, bench, known, had=self.near_learnt, folder=self.near_folder)

    def _vlad(self, gallery: Gallery, bench: Bench, parts: Sequence[Ready]) -> EmbeddingScorer | None:
        """Where the shortlist goes by VLAD: of the first local features."""
        if self.config.shortlist is None or self.config.shortlist.by != VLAD:
            return None
        scorers = [one.scorer for one in parts]
        locals_ = [one.local if isinstance(one, ShortlistScorer) else one for one in scorers]
        first = next(one for one in locals_ if isinstance(one, LocalScorer))
        return vlad_scorer(first, gallery, bench)

    def _unfitted(
        self,
        gallery: Gallery,
        bench: Bench,
        parts: Sequence[Ready],
        lister: Scorer | None,
        near: Ready | None,
    ) -> Ready:
        size = self.config.shortlist.size if self.config.shortlist else None
        matched = min(gallery.references, size or gallery.references)
        scorer = FusionScorer(
            tuple(one.scorer for one in parts),
            None,
            lister,
            size,
            excludes_encounter=any(one.scorer.excludes_encounter for one in parts),
        )
        gallery = gallery.under(CandidateSets.joined(one.gallery.sets for one in parts))
        asked = (*parts, *([near] if near is not None else []))
        return Ready(
            method=self,
            gallery=gallery,
            scorer=scorer,
            shared=(bench.share(scorer), bench.share(gallery)),
            learnt=with_near(
                {"parts": [dict(one.learnt) for one in parts]}, {} if near is None else near.learnt
            ),
            parts=tuple(parts),
            size=min([max(1, PAIRS_PER_REQUEST // max(1, matched)), *(one.size for one in asked)]),
            matched=matched,
        )

    def _work(self, ready: Ready, folder: Path | None) -> Path | None:
        """Named by the photos and by what the parts chose."""
        if folder is None:
            return None
        gallery = ready.gallery
        key = method_key(
            "fusion of animals",
            self.config.canonical(),
            gallery.fingerprint,
            gallery.photos.tolist(),
            ready.learnt,
        )
        return folder / "chunks" / key

    def _pairs(self, ready: Ready, bench: Bench, folder: Path | None) -> Pairs:
        """Pairs of references, scored by all parts."""
        asked, hidden = asked_references(
            ready.gallery, trained=self.trained, most=self.config.leave_one_out_queries, seed=self.config.seed
        )
        return self.pairs(ready, bench, asked, hidden, self._work(ready, folder))

    def pairs(
        self,
        ready: Ready,
        bench: Bench,
        asked: Positions,
        hidden: NDArray[np.bool_] | None = None,
        work: Path | None = None,
    ) -> Pairs:
        """Pairs of asked photos with the references, scored by all parts."""
        ask = partial(PairsRequest, hidden_g=hidden, seed=self.config.seed)
        told = "references asked"
        parts = answers(bench, asked, ready.size, ask, *ready.shared, name="pairs-", told=told, folder=work)
        return Pairs.concat([Pairs(**one) for one in parts] or [Pairs.none(len(self.parts))])

    def _fit(self, ready: Sequence[Ready], pairs: Sequence[Pairs]) -> list[Fitted]:
        everyone: Fitted | None = None
        found = []
        for one, own in zip(ready, pairs, strict=True):
            if int(own.same.sum()) >= FEWEST_SAME:
                found.append(self.fit(own, one.gallery.name))
                continue
            if everyone is None:
                everyone = self.fit(_apart(pairs), one.gallery.name)
            found.append(everyone)
        return found

    def fit(self, pairs: Pairs, collection: str) -> Fitted:
        """Curves and weights.

        Raises:
            DatasetError: no pair is of one animal.
        """
        try:
            return fit(
                pairs,
                kind=self.config.calibration,
                combine=self.config.combine,
                choose_weights=self.config.weights == "chosen",
            )
        except ValueError as error:
            raise DatasetError(
                f"{self.config.name}: nothing to fit on in the reference photos of {collection}: {error}; "
                "are there animals with several reference photos, and validation photos where a trained "
                "model is a part?"
            ) from None

    def _fitted(
        self,
        ready: Ready,
        bench: Bench,
        fused: Fused,
        own: Fitted | None,
        folder: Path | None,
        had: Learnt | None,
    ) -> Ready:
        assert isinstance(ready.scorer, FusionScorer)
        scorer = replace(ready.scorer, fused=fused)
        first = fused.curves[0]
        params: Params = {
            "weights": "learned" if fused.reranker else ", ".join(f"{one:.3g}" for one in fused.weights),
            "pairs_fitted": first.pairs,
            "same_pairs_fitted": first.same,
        }
        top1 = own.top1 if own is not None else float((had or {}).get("top1", 0.0))
        params["references_top1"] = round(top1, 4)
        return replace(
            ready,
            scorer=scorer,
            shared=(bench.share(scorer), ready.shared[1]),
            learnt={**ready.learnt, "fused": fused.as_json(), "top1": top1},
            params=params,
            work=self._work(ready, folder),
        )


def cross_fitted_right(method: Fusing, ready: Ready, gallery: Gallery, bench: Bench) -> NDArray[np.bool_]:
    """Whether each query of a gallery is named rightly by curves and weights of other animals' queries.

    Validation photos are asked so: where a part was trained, they are all that a fusion can be fitted
    on, and whoever is judged must not have been fitted on.

    Args:
        ready: the fusion on the collection's whole gallery, for what its parts have learnt.
    """
    learnt = tuple(
        {gallery.fingerprint: (one.unvalidated if one.unvalidated is not None else one.learnt)}
        for one in ready.parts
    )
    near = {gallery.fingerprint: ready.learnt[NEAR]} if NEAR in ready.learnt else {}
    alone = replace(method, part_learnt=learnt, part_folders=(), near_learnt=near, near_folder=None)
    joined = alone.joined([gallery], bench, {})
    if not joined:
        return np.zeros(len(gallery.queries), bool)
    pairs = alone.pairs(joined[0], bench, gallery.queries)
    owner = gallery.labels[pairs.query]
    animals = np.unique(gallery.labels[gallery.queries])
    fold = np.searchsorted(animals, owner) % min(FOLDS, len(animals))
    average = np.full(len(pairs), -np.inf)
    for here in range(int(fold.max(initial=-1)) + 1):
        others = pairs.part(fold != here)
        fitted = method.fit(others if others.same.any() else pairs, gallery.name).fused
        average[fold == here] = fitted.average(pairs.scores[fold == here], pairs.query[fold == here])
    right = np.zeros(len(gallery.queries), bool)
    for place, photo in enumerate(gallery.queries):
        mine = np.flatnonzero(pairs.query == photo)
        if len(mine):
            right[place] = bool(pairs.same[mine[np.argmax(average[mine])]])
    return right


def _apart(pairs: Sequence[Pairs]) -> Pairs:
    """Pairs of all galleries; asked photos are numbered anew, so that they stay apart."""
    parts, first, animals = [], 0, 0
    for one in pairs:
        parts.append(replace(one, query=one.query + first, animal=one.animal + animals))
        first += int(one.query.max(initial=-1)) + 1
        animals += int(one.animal.max(initial=-1)) + 1
    return Pairs.concat(parts)
