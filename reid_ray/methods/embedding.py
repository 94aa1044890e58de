"""An embedding as a method: a network, trained or as published, and the cosine of its vectors.

In: a model per collection. Out: a `Ready` per gallery.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reid_ray.config.candidate_sets import ALL, CandidateSets
from reid_ray.config.models import KReciprocal
from reid_ray.embedding.encoding import Encoding
from reid_ray.evaluation.reciprocal import Reciprocal
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.ready import Known, Learnt, Method, Ready
from reid_ray.methods.scorer import EmbeddingScorer

PHOTOS_PER_REQUEST = 256


@dataclass(frozen=True)
class Embedding:
    """A network that turns photos into vectors.

    Attributes:
        key: of everything that decides its vectors.
        encodings: a model by collection; `ANY` stands for every other one.
        trained: whether it has seen the reference photos of seen domains that do not validate.
        sets: which references may answer.
        rerank: settings to choose from for re-ranking by k-reciprocal neighbours; None: cosine alone.
    """

    name: str
    key: str
    encodings: Mapping[str, Encoding]
    trained: bool = False
    sets: CandidateSets = ALL
    rerank: KReciprocal | None = None

    def encoding(self, collection: str) -> Encoding | None:
        """The model for a collection; None where it has none."""
        return self.encodings.get(collection, self.encodings.get(ANY))

    def check(self) -> None:
        """Nothing to do: weights were looked for when the method was planned."""

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> list[Ready]:
        """Vectors of all photos; only the setting of a re-ranking is chosen."""
        found = []
        for gallery in galleries:
            if (scorer := self.scorer(gallery, bench)) is not None:
                ready = embedding_ready(self, gallery.under(self.sets), scorer, bench)
                known = (learnt or {}).get(gallery.fingerprint)
                found.append(ready if self.rerank is None else _reranked(ready, self.rerank, bench, known))
        return found

    def scorer(self, gallery: Gallery, bench: Bench) -> EmbeddingScorer | None:
        """Vectors of all photos of the gallery; None where no model is for its collection."""
        encoding = self.encoding(gallery.name)
        if encoding is None:
            return None
        return EmbeddingScorer.of(bench.vectors(encoding, gallery.photos))


def embedding_ready(method: Method, gallery: Gallery, scorer: EmbeddingScorer, bench: Bench) -> Ready:
    """Vectors are all there is to it; the queries are ranked in one go."""
    return Ready(
        method=method,
        gallery=gallery,
        scorer=scorer,
        shared=(bench.share(scorer), bench.share(gallery)),
        learnt={},
        size=max(PHOTOS_PER_REQUEST, len(gallery.queries)),
        matched=gallery.matched(),
        params=gallery.params(),
    )


def _reranked(ready: Ready, config: KReciprocal, bench: Bench, learnt: Learnt | None) -> Ready:
    """The same behind a re-ranking, whose setting is chosen where it was not before."""
    from reid_ray.methods import reciprocal

    assert isinstance(ready.scorer, EmbeddingScorer)
    unvalidated = learnt
    if learnt is None:
        learnt, unvalidated = reciprocal.tuned(
            config, ready.scorer, ready.gallery, bench, trained=ready.method.trained
        )
    scorer = reciprocal.ReciprocalScorer(ready.scorer, config.size, Reciprocal(*learnt["reciprocal"]))
    return replace(
        ready,
        scorer=scorer,
        shared=(bench.share(scorer), ready.shared[1]),
        learnt=learnt,
        unvalidated=unvalidated,
        size=reciprocal.PHOTOS_PER_REQUEST,
        params=ready.params | reciprocal.params(learnt),
    )


ANY = "*"
