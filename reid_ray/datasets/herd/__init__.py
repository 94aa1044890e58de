"""The herd: procedural photo collections of animals, really re-identified by their coats."""

from reid_ray.datasets.herd.make import herd_root, herd_table, make_herd

__all__ = ["herd_root", "herd_table", "make_herd"]
