"""Synthetic collections: procedural photo collections of animals, really re-identified by their coats."""

from reid_ray.datasets.synthetic.make import make_synthetic, synthetic_root, synthetic_table

__all__ = ["make_synthetic", "synthetic_root", "synthetic_table"]
