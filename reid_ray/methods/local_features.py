"""Local features as a method: prepared, fitted on the references, ready to score.

In: a `Matching` config, galleries. Out: a `Ready` per gallery, whose extractor and setting were chosen
on the references alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.candidate_sets import ALL
from reid_ray.config.matching import NETWORKS, UNLISTED, Extractor, Matching
from reid_ray.matching.engine import Packed
from reid_ray.matching.extract import check_weights
from reid_ray.matching.features import Features
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.places import PlaceWeights, cells_of
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_views, settings_of
from reid_ray.matching.shortlist import score_candidates
from reid_ray.matching.tuning import Tuned, best_of, right_per_setting
from reid_ray.methods.animals import told
from reid_ray.methods.bench import Bench, answers
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.leave_one_out import asked_references
from reid_ray.methods.listing import listed
from reid_ray.methods.on_animals import on_animals
from reid_ray.methods.places import Places, learn_places, weighed
from reid_ray.methods.ready import Known, Learnt, Params, Ready
from reid_ray.methods.scorer import Arrays, Outs, ScoreBlock, Scorer, rank_blocks
from reid_ray.runs.methods import method_key

PAIRS_PER_REQUEST = 4096
"""A second or two of work: long against a request's overhead, short against what a crash may cost."""
VOTES_COMPARED = 100
"""References, at most, that are asked whether those that the rules leave out should vote."""
NETWORK_PAIRS_PER_REQUEST = 64
"""As above, where a network looks at every pair."""
TunedPair = tuple[Tuned, Tuned]
"""For what the config leaves in, and for references of other encounters."""
KEPT_PAIRS = 2**26
"""Scores of a gallery are kept for other methods up to so many pairs (256 MiB a view)."""


@dataclass(frozen=True)
class LocalScorer:
    """Matches of local features.

    Attributes:
        config: with the chosen extractor.
        references: the searched side.
        queries: of the gallery's query photos.
        settings: with what the config leaves in, and with references of other encounters alone.
        kept: folder of scores that several methods share; None keeps none.
        places: what votes count by where they come from; None: all alike. `references` have it already.
    """

    config: Matching
    references: References
    queries: Features
    settings: tuple[Setting, Setting]
    kept: Path | None = None
    places: PlaceWeights | None = None
    both_views = True

    @property
    def excludes_encounter(self) -> bool:
        return self.config.exclude_same_encounter

    @property
    def pairwise(self) -> bool:
        return self.config.pairwise

    def of(self, gallery: Gallery, asked: Positions) -> tuple[Packed, Features | None]:
        """Descriptors of photos that are all references or all queries, and their features where
        candidates are verified.
        """
        if len(asked) and asked[0] < gallery.references:
            features = self.references.features
            return self.references.packed.take(asked), None if features is None else features.take(asked)
        queries = self.queries.take(asked - gallery.references)
        packed = Packed.of(queries)
        if self.places is not None:
            sides = np.repeat(gallery.sides[asked], queries.keypoints)
            packed = replace(packed, weights=self.places.of(cells_of(queries), sides))
        return packed, queries

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        found = self._scores(gallery, asked, outs)
        if gallery.all_vote:
            found[np.stack([gallery.silent(asked, out) for out in outs[: len(found)]])] = EXCLUDED
        return ScoreBlock(found)

    def _scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> NDArray[np.float32]:
        pairs = list(zip(self.settings, outs, strict=False))
        if self.kept is None:
            return self._made(gallery, asked, pairs)
        names = [self._name(asked, setting, out) for setting, out in pairs]
        made: list[NDArray[np.float32]] = []

        def make(view: int) -> NDArray[np.float32]:
            if not made:  # descriptors are compared once for all views
                made.extend(self._made(gallery, asked, pairs))
            return made[view]

        kept = [
            kept_scores(self.kept, name, out.shape, partial(make, view))
            for view, (name, (_, out)) in enumerate(zip(names, pairs, strict=True))
        ]
        return np.stack(kept)

    def _made(
        self, gallery: Gallery, asked: Positions, pairs: Sequence[tuple[Setting, NDArray[np.bool_]]]
    ) -> NDArray[np.float32]:
        scores = np.empty((len(pairs), len(asked), gallery.references), np.float32)
        for rows in gallery.alike(asked):
            packed, features = self.of(gallery, asked[rows])
            some = [(setting, out[rows]) for setting, out in pairs]
            scores[:, rows] = score_views(packed, features, self.references, self.config, some)
        return scores

    def _name(self, asked: Positions, setting: Setting, out: NDArray[np.bool_]) -> str:
        text = asked.tobytes() + repr(setting).encode() + np.packbits(out).tobytes()
        return hashlib.sha256(text).hexdigest()[:20]

    def score_candidates(
        self, gallery: Gallery, asked: Positions, chosen: Sequence[Positions]
    ) -> list[NDArray[np.float32]]:
        """Scores of each photo's own candidates, as if there were no other references."""
        packed, features = self.of(gallery, asked)
        return score_candidates(packed, features, chosen, self.references, self.config, self.settings[0])

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        return rank_blocks(self, gallery, asked, k=k).arrays()

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """By their logarithm: one match more means little among hundreds."""
        return np.asarray(np.sign(scores) * np.log1p(np.abs(scores)))


@dataclass(frozen=True)
class TuneRequest:
    """How likely each setting names each of some references rightly, leave-one-out: `right` [v, l, s].

    The first view is among the references that the config leaves in, the second among those of other
    encounters; the third, where some references were trained on, is the first among these alone.
    """

    asked: Positions
    hidden_g: NDArray[np.bool_] | None
    config: Matching

    def run(self, references: References, gallery: Gallery, near: Scorer | None) -> Arrays:
        first = self.config.exclude_same_encounter
        outs = [
            gallery.excluded(self.asked, encounter=encounter, hidden_g=self.hidden_g)
            for encounter in (first, True)
        ]
        if gallery.trained.any():
            outs.append(gallery.excluded(self.asked, encounter=first, hidden_g=~gallery.trained))
        right = np.empty((len(outs), len(self.asked), len(settings_of(self.config))))
        for rows in gallery.alike(self.asked):
            asked, some = self.asked[rows], [out[rows] for out in outs]
            orders = None if near is None else [listed(near, gallery, asked, out) for out in some]
            silent = [gallery.silent(asked, out) for out in some]
            right[:, rows] = right_per_setting(
                references, self.config, asked, some, silent=silent, orders=orders
            )
        return {"right": right}


@dataclass(frozen=True)
class Asking:
    """How a gallery's references are asked among each other, to choose what a config leaves open.

    Attributes:
        work: folder of finished work; None: nothing is kept.
    """

    config: Matching
    gallery: Gallery
    bench: Bench
    work: Path | None

    def tune(
        self, references: References, *, extractor: int, trained: bool = False, near: Scorer | None = None
    ) -> list[TunedPair]:
        """The settings for both views: those to use, then those that no validation photo chose.

        Nothing is asked where there is nothing to choose.

        Args:
            extractor: number of the extractor of `references`.
            trained: `near` knows some references too well.
            near: what the config's shortlist goes by.
        """
        config, settings = self.config, settings_of(self.config)
        if len(settings) == 1 and not config.alternatives:
            return [(Tuned(settings[0], (), 0),) * 2] * 2
        most, seed = config.leave_one_out_queries, config.seed
        asked, hidden = asked_references(self.gallery, trained=trained, most=most, seed=seed)
        if not len(asked):
            asked, hidden = asked_references(self.gallery, trained=False, most=most, seed=seed)
        right = self.right(references, asked, hidden, name=f"tuning-{extractor}", near=near)
        chosen = [best_of(settings, one.sum(axis=0), len(asked)) for one in right[:2]]
        free = self.gallery.trained[asked]
        if not free.any():
            return [(chosen[0], chosen[1])] * 2
        # Validation photos neither ask nor answer.
        unvalidated = best_of(settings, right[2, free].sum(axis=0), int(free.sum()))
        return [(chosen[0], chosen[1]), (unvalidated, unvalidated)]

    def right(
        self,
        references: References,
        asked: Positions,
        hidden: NDArray[np.bool_] | None,
        *,
        name: str,
        near: Scorer | None = None,
    ) -> NDArray[np.float64]:
        """How likely each setting names each of `asked` rightly, [views, l, s]; see `right_per_setting`.

        Args:
            hidden: references that never answer, bool [g]; None: all may.
            name: of the work, kept in `work`; who votes is added.
        """
        bench, gallery = self.bench, self.gallery
        name += "-all-" if gallery.all_vote else "-"
        size = request_size(self.config, gallery.references)
        ask = partial(TuneRequest, hidden_g=hidden, config=self.config)
        shared = bench.share(references), bench.share(gallery), bench.share(near)
        told = "settings tried, references asked"
        found = answers(bench, asked, size, ask, *shared, name=name, told=told, folder=self.work)
        return np.concatenate([one["right"] for one in found], axis=1)


@dataclass(frozen=True)
class LocalFeatures:
    """A local-feature method.

    Attributes:
        share_scores: keep scores of all pairs for other methods of the study.
    """

    config: Matching
    share_scores: bool = False
    trained = False

    @property
    def name(self) -> str:
        return self.config.name

    def check(self) -> None:
        """Raises WeightsError where a file of weights is missing or not what it should be."""
        check_weights(self.config)

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> list[Ready]:
        """Take features, choose what the config leaves open.

        Args:
            learnt: what was chosen before, by the gallery's fingerprint.
            folder: finished work on these galleries is kept there.
        """
        return [self._prepare(one, bench, (learnt or {}).get(one.fingerprint), folder) for one in galleries]

    def _prepare(self, gallery: Gallery, bench: Bench, learnt: Learnt | None, folder: Path | None) -> Ready:
        gallery = gallery.under(self.config)
        work = None if folder is None else folder / "chunks" / self.work_key(gallery)
        if learnt is None:
            number, (references, queries), tuned, gallery = self._choose(
                Asking(self.config, gallery, bench, work)
            )
            size = request_size(self.config, gallery.references)
            found = [one[0].setting for one in tuned]
            placed = learn_places(self.config, found, references, gallery, bench, work, size)
        else:
            number, chosen = _chosen(learnt)
            gallery = replace(gallery, all_vote=bool(learnt.get("all_vote")))
            references, queries = self.sides(gallery, bench, self.extractors[number])
            tuned = [chosen, chosen]
            placed = (Places.of(learnt),) * 2
        config = self.config.model_copy(update={"extractor": self.extractors[number]})
        settings = (tuned[0][0].setting, tuned[0][1].setting)
        weights = placed[0].weights
        kept = self._kept(gallery, config, (settings, weights), folder)
        references = weighed(references, gallery, weights)
        scorer = LocalScorer(config, references, queries, settings, kept, weights)
        return Ready(
            method=self,
            gallery=gallery,
            scorer=scorer,
            shared=(bench.share(scorer), bench.share(gallery)),
            learnt=self.plain(number, tuned[0], placed[0], all_vote=gallery.all_vote),
            unvalidated=self.plain(number, tuned[1], placed[1], all_vote=gallery.all_vote),
            params=chosen_params(config, tuned[0], several=len(self.extractors) > 1)
            | placed[0].params()
            | gallery.params(),
            keypoints=np.concatenate([np.diff(references.packed.offsets), queries.keypoints]),
            size=request_size(config, gallery.references),
            matched=gallery.matched(),
            work=work,
        )

    def sides(self, gallery: Gallery, bench: Bench, extractor: Extractor) -> tuple[References, Features]:
        """The references and the query photos by one extractor."""
        config = self.config.model_copy(update={"extractor": extractor})
        features = on_animals(bench.features(gallery.photos, config), gallery, bench)
        searched = features.take(np.arange(gallery.references))
        packed = Packed.of(searched)
        references = References(
            packed.sketched() if self.config.scores_first else packed,
            gallery.labels_g,
            gallery.encounters_g,
            searched if self.config.verify else None,
            cells_of(searched) if self.config.place_weights == "auto" else None,
        )
        return references, features.take(gallery.queries)

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """What may be chosen, the preferred first."""
        return (self.config.extractor, *self.config.alternatives)

    def _choose(self, asking: Asking) -> tuple[int, tuple[References, Features], list[TunedPair], Gallery]:
        """The extractor (its number) and the settings that name most references rightly, with both sides, and
        the gallery: whether those that its rules leave out vote.
        """
        best: tuple[int, tuple[References, Features], list[TunedPair]] | None = None
        for number, extractor in enumerate(self.extractors):
            sides = self.sides(asking.gallery, asking.bench, extractor)
            tuned = asking.tune(sides[0], extractor=number)
            if best is None or tuned[0][0].best > best[2][0][0].best:
                best = number, sides, tuned
        assert best is not None
        number, sides, tuned = best
        if self._votes_differ(asking.gallery) and self._votes_help(asking, sides[0], number):
            asking = replace(asking, gallery=replace(asking.gallery, all_vote=True))
            tuned = asking.tune(sides[0], extractor=number)
        return number, sides, tuned, asking.gallery

    def _votes_help(self, asking: Asking, references: References, extractor: int) -> bool:
        """Whether votes of those that the rules leave out name a sample of references better, by more than a
        standard error: they cost as many pairs again. Validation photos neither ask nor answer.
        """
        gallery, settings = asking.gallery, settings_of(self.config)
        most = min(VOTES_COMPARED, self.config.leave_one_out_queries)
        asked, _ = asked_references(gallery, trained=False, most=most, seed=self.config.seed)
        free = gallery.trained[asked]
        right_al = []
        for all_vote in (False, True):
            one = replace(asking, gallery=replace(gallery, all_vote=all_vote))
            right = one.right(references, asked, None, name=f"votes-{extractor}")
            right_ls = right[2, free] if free.any() else right[0]
            best = settings.index(best_of(settings, right_ls.sum(axis=0), len(right_ls)).setting)
            right_al.append(right_ls[:, best])
        gain_l = right_al[1] - right_al[0]
        error = gain_l.std(ddof=1) / np.sqrt(len(gain_l)) if len(gain_l) > 1 else np.inf
        return bool(gain_l.mean() - error > 1e-9)  # a single photo's gain is one standard error

    def _votes_differ(self, gallery: Gallery) -> bool:
        """Whether it matters to votes that some references are left out: the score depends on the others, and
        the rules leave out any of them.
        """
        every = np.arange(gallery.references)
        return (
            self.config.score == "lnbnn"
            and bool(gallery.sets.rules)
            and gallery.pairs(every) < replace(gallery, sets=ALL).pairs(every)
        )

    def plain(
        self, extractor: int, tuned: TunedPair, placed: Places | None = None, *, all_vote: bool = False
    ) -> Learnt:
        """What was chosen, as plain data."""
        settings = [
            {"setting": vars(one.setting), "top1": list(one.top1), "looked_up": one.looked_up}
            for one in tuned
        ]
        found = {"extractor": extractor, "settings": settings} | ({"all_vote": True} if all_vote else {})
        return found if placed is None or not placed.asked else found | {"places": placed.as_json()}

    def work_key(self, gallery: Gallery) -> str:
        """Names finished work on these very photos."""
        sides = [] if self.config.place_weights == "off" else gallery.sides.tolist()
        return method_key(
            "work",
            self.config.canonical(),
            gallery.fingerprint,
            gallery.photos.tolist(),
            sides,
            gallery.shown.plain(self.config),
            *told(gallery.animals),
        )

    def _kept(
        self, gallery: Gallery, config: Matching, chosen: tuple[Any, ...], folder: Path | None
    ) -> Path | None:
        """Known by all that decides the scores; equal for methods that differ only in how they use them."""
        pairs = len(gallery.queries) * gallery.references
        if folder is None or not self.share_scores or pairs > KEPT_PAIRS:
            return None
        plain = config.model_copy(update={"alternatives": (), "shortlist": None, "name": "any"})
        return shared_folder(folder, "scores") / method_key(
            plain.canonical(),
            repr(chosen),
            gallery.fingerprint,
            gallery.photos.tolist(),
            *told(gallery.animals),
        )


def shared_folder(method_folder: Path, name: str) -> Path:
    """What several methods of a study share lies beside `methods`: `<study>/<name>`."""
    return method_folder.absolute().parent.parent / name


def request_size(config: Matching, references: int) -> int:
    """Photos asked in one request, so that it has about `PAIRS_PER_REQUEST` pairs."""
    matched = references
    if config.shortlist is not None and config.shortlist.curve != "all":
        matched = min(references, config.shortlist.size)
    size = max(1, PAIRS_PER_REQUEST // max(1, matched))
    if isinstance(config.verify, NETWORKS):
        looks = config.verify.candidates or (config.shortlist.size if config.shortlist else UNLISTED)
        return max(1, min(size, NETWORK_PAIRS_PER_REQUEST // looks))
    return size


def chosen_params(config: Matching, tuned: tuple[Tuned, Tuned], *, several: bool) -> Params:
    """What was chosen on one gallery's references, and how often it was right there."""

    def of(one: Tuned) -> Params:
        found: Params = {"threshold": one.setting.threshold} if config.scores_first else {}
        if config.scores_first and config.score == "lnbnn":
            found = {"neighbours": one.setting.neighbours, "distance": one.setting.distance}
        if several:
            found["chosen_extractor"] = config.extractor.canonical()
        if one.looked_up:
            found["leave_one_out_top1"] = round(one.best, 4)
        return found

    first, second = of(tuned[0]), of(tuned[1])
    other = {f"{what}/other_encounter": value for what, value in second.items() if first.get(what) != value}
    return first | other


def _chosen(learnt: Learnt) -> tuple[int, tuple[Tuned, Tuned]]:
    first, second = (
        Tuned(Setting(**one["setting"]), tuple(one["top1"]), int(one["looked_up"]))
        for one in learnt["settings"]
    )
    return int(learnt["extractor"]), (first, second)
