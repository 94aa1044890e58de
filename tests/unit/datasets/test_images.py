"""Decoding anything that calls itself a photo, and bringing it to size."""

import contextlib
import io
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_files import encoded, picture
from PIL import Image
from torchvision.transforms import Resize

from reid_ray.config.datasets import Images
from reid_ray.datasets import images
from reid_ray.datasets.images import BadImage

CAP = 1_000_000


def decode(data: bytes) -> np.ndarray:
    return images.decode(data, max_pixels=CAP)


def reason(data: bytes, max_pixels: int = CAP) -> str:
    with pytest.raises(BadImage) as caught:
        images.decode(data, max_pixels=max_pixels)
    return str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_decodes_to_its_pixels(format: str) -> None:
    options = (
        {"lossless": True}
        if format == "WEBP"
        else {"quality": 95, "subsampling": 0}
        if format == "JPEG"
        else {}
    )
    original = picture()
    pixels = decode(encoded(original, format, **options))
    assert pixels.shape == (40, 48, 3)
    assert pixels.dtype == np.uint8
    allowed = {"JPEG": 12, "GIF": 60}.get(format, 0)
    assert np.abs(pixels.astype(int) - np.asarray(original)).max() <= allowed


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied_once(format: str, orientation: int) -> None:
    # Corner colours say where the stored corners end up; OpenCV is the second opinion for JPEG.
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30], stored[:20, 30:], stored[20:, :30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored), format, exif=exif)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    pixels = decode(data)
    assert pixels.shape == upright.shape
    corners = (slice(5, None, upright.shape[0] - 11), slice(5, None, upright.shape[1] - 11))
    np.testing.assert_allclose(pixels[corners].astype(int), upright[corners].astype(int), atol=40)
    if format == "JPEG":
        other = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)
        assert np.abs(pixels.astype(int) - other).max() <= 3


def test_damaged_exif_does_not_cost_the_photo() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode(data).shape == (40, 48, 3)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    for format in ("PNG", "TIFF"):
        grey = decode(encoded(Image.fromarray(ramp), format))[..., 0]
        np.testing.assert_allclose(grey, ramp / 257, atol=0.51)


def test_16_bit_colour_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    data = cv2.imencode(".png", ramp[..., ::-1])[1].tobytes()
    np.testing.assert_allclose(decode(data), ramp / 257, atol=1.01)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 1600, dtype=np.float32), np.linspace(0, 255, 1600)),
        (np.linspace(-5, 900, 1600, dtype=np.float32), np.linspace(0, 255, 1600)),
        (np.linspace(0, 255, 1600).astype(np.int32), np.linspace(0, 255, 1600)),
        (np.linspace(0, 10**6, 1600).astype(np.int32), np.linspace(0, 255, 1600)),
        (np.full(1600, 7e8, np.float32), np.zeros(1600)),
    ],
)
def test_deep_grey_values_are_scaled_from_their_own_range(values: np.ndarray, expected: np.ndarray) -> None:
    data = encoded(Image.fromarray(values.reshape(40, 40)), "TIFF")
    np.testing.assert_allclose(decode(data)[..., 1].reshape(-1), expected, atol=1.01)


def test_values_that_are_no_numbers_become_the_darkest() -> None:
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = decode(encoded(Image.fromarray(values), "TIFF"))[..., 0]
    assert list(pixels[0, :3]) == [0, 0, 0]
    assert pixels[-1, -1] == 255
    assert "no finite" in reason(encoded(Image.fromarray(np.full((40, 40), np.nan, "f4")), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_mid_grey_and_not_what_lies_below(mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (200, 200, 200, 255))
    image.paste((255, 0, 0, 0), (0, 0, 20, 40))
    if mode == "P":
        image = Image.new("P", (40, 40), 1)
        image.putpalette([255, 0, 0, 200, 200, 200])
        image.paste(0, (0, 0, 20, 40))
        data = encoded(image, "PNG", transparency=0)
    else:
        data = encoded(image.convert(mode), "PNG")
    pixels = decode(data)
    assert (pixels[:, :20] == 128).all()
    assert (pixels[:, 20:] == 200).all()


def test_half_transparent_pixels_are_mixed() -> None:
    pixels = decode(encoded(Image.new("RGBA", (40, 40), (228, 28, 128, 128)), "PNG"))
    np.testing.assert_allclose(pixels[0, 0], [178, 78, 128], atol=1)


def test_print_colours_become_screen_colours() -> None:
    pixels = decode(encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(pixels[20, 20], [255, 0, 0], atol=5)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_mode_gives_three_bytes_a_pixel(mode: str) -> None:
    data = encoded(picture().convert(mode), "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    assert decode(data).shape == (40, 48, 3)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_shows_its_first_frame(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    red, blue = (Image.new("RGB", (40, 40), colour) for colour in ("red", "blue"))
    data = encoded(red, format, save_all=True, append_images=[blue], **options)
    np.testing.assert_array_equal(decode(data)[0, 0], [255, 0, 0])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_and_not_filled_with_grey(format: str, part: float) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8))
    data = encoded(noise, format)
    assert reason(data[: int(part * len(data))])


def test_random_damage_gives_a_picture_or_a_reason_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        data = encoded(picture(), format)
        for _ in range(40):
            damaged = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(0, len(damaged), 6)
            damaged[places] = rng.integers(0, 256, 6)
            # Any other exception fails the test.
            with contextlib.suppress(BadImage):
                assert images.decode(damaged.tobytes(), max_pixels=CAP).ndim == 3


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"<svg/>", b"%!PS-Adobe-3.0 EPSF", b"\0" * 100, b"P6 9 9 255 "]
)
def test_what_is_no_photo_is_refused(data: bytes) -> None:
    assert reason(data)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(bomb) < 500_000
    assert "more than" in reason(bomb, 100_000_000)
    assert "more than 1919 pixels" in reason(encoded(picture()), 48 * 40 - 1)
    assert images.decode(encoded(picture()), max_pixels=48 * 40).shape == (40, 48, 3)


@pytest.mark.parametrize(("width", "height", "good"), [(31, 50, False), (50, 31, False), (32, 32, True)])
def test_sides_below_32_pixels_are_refused(width: int, height: int, good: bool) -> None:
    data = encoded(picture(0, width, height))
    if good:
        assert decode(data).shape == (height, width, 3)
    else:
        assert "below 32 px" in reason(data)


def test_a_suffix_says_nothing_about_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(), "JPEG"))
    assert images.open_photo(str(tmp_path), "a.png", max_pixels=CAP).shape == (40, 48, 3)


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 301), (130, 97), (64, 64)])
@pytest.mark.parametrize("short_px", [64, 256])
def test_preparing_is_torchvisions_resize(width: int, height: int, short_px: int) -> None:
    original = picture(1, width, height)
    pixels = images.prepare(np.asarray(original), short_px=short_px)
    np.testing.assert_array_equal(pixels, np.asarray(Resize(short_px)(original)))
    assert min(pixels.shape[:2]) == short_px


def test_a_small_photo_keeps_its_pixels_where_none_is_enlarged_and_a_large_one_is_capped(
    tmp_path: Path,
) -> None:
    small, large = (np.asarray(picture(1, *size)) for size in ((90, 60), (300, 200)))
    np.testing.assert_array_equal(images.prepare(small, short_px=128, enlarge=False), small)
    expected = images.prepare(large, short_px=128)
    np.testing.assert_array_equal(images.prepare(large, short_px=128, enlarge=False), expected)
    assert expected.shape == (128, 192, 3)
    picture(1, 90, 60).save(tmp_path / "a.png")
    settings = Images(short_px=128, enlarge=False)
    found = images.read_prepared(str(tmp_path), "a.png", images=settings).pixels
    np.testing.assert_array_equal(found, small)


def test_a_box_is_cut_out_before_resizing() -> None:
    original = picture(1, 200, 100)
    pixels = images.prepare(np.asarray(original), short_px=64, bbox=[20.4, 10, 90.2, 50])
    expected = Resize(64)(original.crop((20, 10, 111, 60)))
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_a_box_over_the_edge_keeps_what_is_inside() -> None:
    original = picture(1, 200, 100)
    pixels = images.prepare(np.asarray(original), short_px=64, bbox=[-50, -50, 500, 500])
    np.testing.assert_array_equal(pixels, images.prepare(np.asarray(original), short_px=64))


@pytest.mark.parametrize("bbox", [[300, 300, 50, 50], [0, 0, 31, 60], [1e308, 0, 1e308, 1e308]])
def test_a_box_that_leaves_too_little_is_refused(bbox: list[float]) -> None:
    with pytest.raises(BadImage, match="below 32 px"):
        images.prepare(np.asarray(picture(1, 200, 100)), short_px=64, bbox=bbox)


def test_a_long_strip_is_refused_before_it_grows() -> None:
    with pytest.raises(BadImage, match="more than 20 times"):
        images.prepare(np.zeros((32, 641, 3), np.uint8), short_px=256)
    assert images.prepare(np.zeros((32, 640, 3), np.uint8), short_px=64).shape == (64, 1280, 3)


def test_a_large_jpeg_is_drafted_without_a_visible_difference() -> None:
    data = encoded(picture(2, 600, 400), "JPEG", quality=90)
    whole, drafted = decode(data), images.decode(data, max_pixels=CAP, short_px=50)
    assert drafted.shape == (200, 300, 3)
    ready = [images.prepare(pixels, short_px=50).astype(int) for pixels in (whole, drafted)]
    assert np.abs(ready[0] - ready[1]).mean() < 1
    # Less than 4 times as large as needed: decoded whole.
    assert images.decode(data, max_pixels=CAP, short_px=51).shape == (400, 600, 3)


def test_a_prepared_photo_carries_the_hash_of_its_file(tmp_path: Path) -> None:
    data = encoded(picture(1, 200, 100))
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "c.png").write_bytes(data + b"\0")
    settings = Images(short_px=64)
    a, b, c = (
        images.read_prepared(str(tmp_path), name, images=settings, bbox=[0, 0, 50, 50])
        for name in ("a.png", "b.jpg", "c.png")
    )
    assert a.content == b.content != c.content
    assert a.pixels.shape == (64, 128, 3)
    cropped = images.read_prepared(
        str(tmp_path), "a.png", images=Images(short_px=64, crop="bbox"), bbox=[0, 0, 50, 50]
    )
    assert cropped.pixels.shape == (64, 64, 3)


def test_grey_is_opencvs() -> None:
    pixels = np.asarray(picture())
    expected = cv2.cvtColor(np.ascontiguousarray(pixels[..., ::-1]), cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(images.grey(pixels), expected)
    assert images.grey(pixels).shape == (40, 48)


def test_a_real_photo_that_is_a_jpeg_named_png_decodes() -> None:
    folder = Path(os.environ.get("REID_RAY_DATA", Path(__file__).parents[4] / "shared/data"))
    photo = folder / "LionData/images/val/Maskio/Maskio_Left_Body.png"
    if not photo.exists():
        pytest.skip(f"no LionData below {folder}")
    assert photo.read_bytes()[:2] == b"\xff\xd8"
    expected = np.asarray(Image.open(io.BytesIO(photo.read_bytes())).convert("RGB"))
    np.testing.assert_array_equal(decode(photo.read_bytes()), expected)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_photos_of_phones_are_upright_as_jpegs_are(format: str, turn: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()  # writes them, too
    exif = Image.Exif()
    exif[0x0112] = turn
    photo = picture(3, 160, 120)
    expected = decode(encoded(photo, "JPEG", quality=95, exif=exif.tobytes()))
    data = encoded(photo, format, quality=95, exif=exif.tobytes())
    found = decode(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4
    with pytest.raises(BadImage):
        decode(data[: len(data) // 2])
    assert "more than 100 pixels" in reason(data, max_pixels=100)


def test_without_its_decoder_a_heic_file_is_told_from_a_damaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # an import of it fails, as where it is missing
    images._register_heif.cache_clear()
    head = (24).to_bytes(4, "big") + b"ftypheic" + bytes(12)
    assert "pip install pillow-heif" in reason(head)
