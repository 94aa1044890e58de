"""Small photo files that the tests write themselves."""

import io

import numpy as np
from PIL import Image


def picture(seed: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    """A smooth coloured picture, different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
