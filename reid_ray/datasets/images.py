"""Decode photos safely and bring them to one size.

In: bytes that may be anything. Out: upright uint8 RGB pixels, or `BadImage` with the reason.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reid_ray.config.datasets import Images
from reid_ray.datasets.kinds import HEAD_BYTES, is_heif
from reid_ray.datasets.roots import open_root
from reid_ray.errors import DatasetError

Pixels = NDArray[np.uint8]

MIN_SIDE_PX = 32
"""A smaller photo or crop shows no coat pattern."""
MAX_ASPECT = 20
"""A longer strip would grow without bound when its short side is brought to size."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
_AVIF = (b"avif", b"avis")
_DAMAGED_HEIC = "HEIC file that cannot be decoded; convert it to JPEG"
_NO_HEIC = "HEIC file, which is read by pillow-heif, and that is not installed (pip install pillow-heif)"
_DRAFT_MARGIN = 4
_MOST_SCANS = 20
"""Of the largest photo; smaller ones may have more. Cameras and editors write 1 to 12."""
_BACKGROUND = (128, 128, 128)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)


class BadImage(DatasetError):
    """A photo that is quarantined; the text is the reason."""


class Photo(NamedTuple):
    """A prepared photo.

    Attributes:
        pixels: uint8 [H, W, 3].
        content: `content_hash` of the file and, where it was cropped, the box.
    """

    pixels: Pixels
    content: str


class Source(NamedTuple):
    """A photo that was read but not decoded.

    Attributes:
        box: [x, y, w, h] of what is wanted of it; None: all.
        content: `content_hash` of the file.
    """

    data: bytes
    box: Sequence[float] | None
    content: str


def read_bytes(root: str, path: str) -> bytes:
    """The bytes of a photo of a collection, local or behind a URI.

    Raises:
        BadImage: missing, outside the root, not a regular file, empty, too large or unreadable.
    """
    try:
        return open_root(root).read(path)
    except (OSError, ValueError) as error:
        raise BadImage(getattr(error, "strerror", None) or str(error)) from None


def content_hash(data: bytes, box: Sequence[float] | None = None) -> str:
    """Equal files have equal hashes: the first 32 hex digits of the sha256.

    Different crops of one file differ: they show different animals.
    """
    digest = hashlib.sha256(data)
    if box is not None:
        digest.update(repr([float(side) for side in box]).encode())
    return digest.hexdigest()[:32]


def open_photo(root: str, path: str, *, max_pixels: int) -> Pixels:
    """`read_bytes`, then `decode`."""
    return decode(read_bytes(root, path), max_pixels=max_pixels)


def read_source(
    root: str, path: str, *, images: Images, bbox: Sequence[float] | None = None, crop: str | None = None
) -> Source:
    """Read and hash one photo, for `prepare_source`.

    `bbox` counts only where `crop` (or else `images.crop`) asks for it; a photo without one is taken whole.
    """
    data = read_bytes(root, path)
    box = bbox if (crop or images.crop) == "bbox" else None
    return Source(data, box, content_hash(data, box))


def prepare_source(source: Source, *, images: Images) -> Pixels:
    """Decode and prepare one photo that was read."""
    # With a box, the crop and not the photo must stay large, so such a photo is decoded whole.
    short_px = None if source.box else images.short_px
    pixels = decode(source.data, max_pixels=images.max_pixels, short_px=short_px)
    return prepare(pixels, short_px=images.short_px, bbox=source.box, enlarge=images.enlarge)


def read_prepared(root: str, path: str, *, images: Images, bbox: Sequence[float] | None = None) -> Photo:
    """`read_source`, then `prepare_source`: the bytes are read once."""
    source = read_source(root, path, images=images, bbox=bbox)
    return Photo(prepare_source(source, images=images), source.content)


def decode(data: bytes, *, max_pixels: int, short_px: int | None = None) -> Pixels:
    """Upright RGB pixels of a photo, whatever its suffix says.

    The first frame of an animation; transparency over mid-grey; 16-bit values scaled from 0..65535,
    32-bit and float values from their own range; EXIF rotation applied, colour profiles ignored.

    With `short_px`, a JPEG is decoded at 1/2, 1/4 or 1/8 where its shorter side stays at least 4
    times that: a 12 Mpx photo 2.4 times as fast, and once at `short_px` 0.7 grey levels away on
    average.

    Returns:
        uint8 [H, W, 3].

    Raises:
        BadImage: of no known format, truncated, damaged, more than `max_pixels`, or a side below 32
            px.
    """
    if not data:
        raise BadImage("empty file")
    with _opened(data, max_pixels) as image:
        if min(image.size) < MIN_SIDE_PX:
            raise BadImage(f"{image.width} x {image.height} px: sides below {MIN_SIDE_PX} px are refused")
        if short_px:
            image.draft(None, (_DRAFT_MARGIN * short_px, _DRAFT_MARGIN * short_px))
        image.load()
        return np.ascontiguousarray(_turned(_rgb(image), _orientation(image)))


def upright_size(data: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Width and height of a photo, from its header.

    Raises:
        BadImage: of no known format, or more than `max_pixels`.
    """
    with _opened(data, max_pixels) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """A photo whose header was read and found harmless; whatever fails with it is a `BadImage`."""
    # Pillow's own limit is raised as far as ours and no further, so that ours alone decides.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    formats: tuple[str, ...] = _FORMATS
    if heif := is_heif(data[:HEAD_BYTES]) and data[8:12] not in _AVIF:
        _register_heif()
        formats = ("HEIF",)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            _refuse_work(data, image, max_pixels)
            yield image
    except UnidentifiedImageError:
        raise BadImage(_DAMAGED_HEIC if heif else _unknown_format(data)) from None
    except (Image.DecompressionBombError, MemoryError):
        raise BadImage(f"more than {max_pixels} pixels") from None
    except BadImage:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files.
        if heif:
            raise BadImage(_DAMAGED_HEIC) from None
        raise BadImage(f"damaged image: {type(error).__name__}: {error}") from None


@cache
def _register_heif() -> None:
    """Once per process, and only where such a photo is met: the decoder takes a while to load."""
    try:
        import pillow_heif
    except ImportError:
        raise BadImage(_NO_HEIC) from None

    pillow_heif.register_heif_opener(thumbnails=False)


def prepare(
    pixels: Pixels, *, short_px: int, bbox: Sequence[float] | None = None, enlarge: bool = True
) -> Pixels:
    """Crop to `bbox` [x, y, w, h] (pixels or shares) if given, then bring the shorter side to `short_px`; a
    smaller one is left as it is where not `enlarge`.

    Bilinear with antialiasing, up and down, the longer side cut to whole pixels: torchvision's
    `Resize`, which the paper used.

    Returns:
        uint8 [H', W', 3] with min(H', W') == short_px, or less where not `enlarge`.

    Raises:
        BadImage: the box leaves less than 32 px of the photo, or a side is 20 times the other.
    """
    if bbox is not None:
        pixels = _crop(pixels, bbox)
    height, width = pixels.shape[:2]
    short, long = sorted((height, width))
    if long > MAX_ASPECT * short:
        raise BadImage(f"{width} x {height} px: one side is more than {MAX_ASPECT} times the other")
    if short == short_px or (short < short_px and not enlarge):
        return np.ascontiguousarray(pixels)
    long_px = int(short_px * long / short)
    size = (short_px, long_px) if width <= height else (long_px, short_px)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def in_pixels(bbox: Sequence[float], *, width: int, height: int) -> tuple[float, float, float, float]:
    """`[x, y, w, h]` in pixels, also where it is given in shares of the photo's sides.

    A box that lies wholly within 0..1 would be less than a pixel, so it can only mean shares.
    """
    x, y, w, h = bbox
    if min(x, y) >= 0 and max(x + w, y + h) <= 1:
        return x * width, y * height, w * width, h * height
    return x, y, w, h


def grey(pixels: Pixels) -> Pixels:
    """OpenCV's grey of RGB pixels, uint8 [H, W]: what SIFT is given."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _crop(pixels: Pixels, bbox: Sequence[float]) -> Pixels:
    """The part of the box that lies inside the photo, its edges rounded to whole pixels."""
    height, width = pixels.shape[:2]
    x, y, w, h = in_pixels(bbox, width=width, height=height)
    left, right = (round(min(max(edge, 0), width)) for edge in (x, x + w))
    top, bottom = (round(min(max(edge, 0), height)) for edge in (y, y + h))
    if min(right - left, bottom - top) < MIN_SIDE_PX:
        raise BadImage(
            f"bbox {[round(side, 1) for side in bbox]} leaves {right - left} x {bottom - top} px "
            f"of {width} x {height}; sides below {MIN_SIDE_PX} px are refused"
        )
    return pixels[top:bottom, left:right]


def _unknown_format(data: bytes) -> str:
    known = f"not an image of a known format ({', '.join(_FORMATS)})"
    if data[4:8] != b"ftyp":
        return known
    # Films of phones, and Canon's CR3.
    brand = data[8:12].decode("ascii", "replace").strip().upper()
    return f"{known} but {brand if brand.isalnum() else 'a film'}; convert it to JPEG"


def _refuse_work(data: bytes, image: Image.Image, max_pixels: int) -> None:
    """More pixels than allowed, or more passes over them than anyone needs."""
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} px is more than {max_pixels} pixels")
    # Each scan of a progressive JPEG goes over all pixels, and may be 14 bytes long.
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 0
    if scans * width * height > _MOST_SCANS * max_pixels:
        raise BadImage(f"{scans} scans of {width} x {height} px would take hours to decode")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        # Mid-grey is near the mean that networks subtract, and draws no hard edge round the animal.
        layer = image.convert("RGBA")
        below = Image.new("RGBA", layer.size, (*_BACKGROUND, 255))
        return Image.alpha_composite(below, layer).convert("RGB")
    return image.convert("RGB")


def _scaled(values: NDArray[np.generic], mode: str) -> Pixels:
    """Deep grey values as uint8 [H, W]: Pillow's own conversion would clip them to white.

    Values that fit 16 bits (or, in a 32-bit file, 8) and floats within 0..1 keep that scale, so
    that photos stay comparable; others are stretched from their least to their greatest value.
    """
    deep = values.astype(np.float64)
    finite = np.isfinite(deep)
    if not finite.any():
        raise BadImage("no finite pixel value")
    low, high = float(deep[finite].min()), float(deep[finite].max())
    if mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 255.0 if mode == "I" and high <= 255 else 65535.0
    elif mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    deep = np.where(finite, deep, low)
    return np.rint((deep - low) / max(high - low, 1e-300) * 255).astype(np.uint8)


def _orientation(image: Image.Image) -> Any:
    """EXIF's rotation; metadata that cannot be read says nothing about the pixels."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Damaged EXIF raises anything.
        return 1


def _turned(rgb: Image.Image, orientation: Any) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return rgb if turn is None else rgb.transpose(turn)
