"""The same queries after several trainings: what a model must have seen to know these animals."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from reid_ray.config.base import Config
from reid_ray.config.datasets import Name
from reid_ray.config.training import ArcFace

Variant = Literal["all", "same_domain", "other_domains"]
VARIANTS: tuple[Variant, ...] = ("all", "same_domain", "other_domains")

PAPER_LOSS = ArcFace(name="arcface", margin_rad=0.5, scale=64.0)
PAPER_LR = 0.001
"""Best of the 72 settings over 29 datasets (arXiv 2311.09118, section 5)."""


class Transfer(Config):
    """Train with less and less of what the evaluated datasets show, each time asking their queries."""

    evaluate: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Datasets whose query photos are asked, each among its own references."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = VARIANTS
    """`all`: trained on every seen dataset; `same_domain`: without the evaluated ones, while others of
    their groups stay; `other_domains`: without their whole groups."""
    settings: Annotated[tuple[Literal["selected_trial", "paper", "grid"], ...], Field(min_length=1)] = (
        "selected_trial",
    )
    """`selected_trial`: the setting that won the grid; `paper`: the paper's best (ArcFace, margin 0.5,
    scale 64, lr 0.001) on the selected trial's backbone; `grid`: every point, of which each variant takes
    the best on its own validation photos."""

    def refuse_empty(self, pairs: Collection[tuple[str, str]], unseen: Collection[str] = ()) -> None:
        """Refuse a variant that has nothing of its own to learn from.

        Args:
            pairs: each dataset with each species group it holds.
            unseen: groups that nothing is ever trained on.

        Raises:
            ValueError: says which variant, why, and what to do.
        """
        names = sorted({dataset for dataset, _ in pairs})
        if missing := sorted(set(self.evaluate) - set(names)):
            raise ValueError(f"transfer.evaluate names no dataset: {missing}; datasets are {names}")
        groups = {group for dataset, group in pairs if dataset in self.evaluate}
        if never := sorted(groups & set(unseen)):
            raise ValueError(
                f"transfer.evaluate has photos of {never}, which data.unseen keeps out of every training; "
                "take them out of data.unseen: the variants withhold them themselves"
            )
        others = {group for dataset, group in pairs if dataset not in self.evaluate and group not in unseen}
        kept = [variant for variant in self.variants if variant == "all"]
        if "same_domain" in self.variants and not others & groups:
            raise ValueError(
                f"transfer.variants same_domain: no other seen dataset is of group {sorted(groups)}, so it "
                "would be no different from other_domains; add such a dataset, give its group, or set "
                f"transfer.variants to {[*kept, 'other_domains']}"
            )
        if "other_domains" in self.variants and not others - groups:
            raise ValueError(
                f"transfer.variants other_domains: every seen dataset is of group {sorted(groups)}, so there "
                "would be nothing to train on; add a dataset of another group, or set "
                f"transfer.variants to {[*kept, 'same_domain']}"
            )
