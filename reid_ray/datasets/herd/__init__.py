"""The herd: procedural photo collections of animals, really re-identified by their coats."""

from reid_ray.datasets.herd.make import make_herd

__all__ = ["make_herd"]
