"""Files that call themselves photos, and what is said of each. "": it can be used."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(NOISE)
JPEG, PNG = encoded(PHOTO, "JPEG"), encoded(PHOTO, "PNG")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int, int], after: bytes = b"", next_ifd: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    return head + entries + struct.pack("<I", next_ifd) + after


def scans(times: int, side_px: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again: 24 bytes each, all pixels each."""
    data = encoded(Image.new("L", (side_px, side_px)), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    return data[:at] + data[at:-2] * times + data[-2:]


def ftyp(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0" + brand + b"mif1" + bytes(400)


def flag(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(PHOTO, "JPEG", exif=exif)


def text_bomb() -> bytes:
    packed = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    return png(60, 80, chunk(b"zTXt", packed), chunk(b"IDAT", zlib.compress(bytes(80 * 181))))


def _gps() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("x" * 60, "y" * 5000)
    return encoded(PHOTO, "PNG", pnginfo=info)


NO = "not an image of a known format"
DAMAGED = "damaged image"

PHOTOS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "zero bytes": (bytes(5000), NO),
    "a web page": (b"<!doctype html><title>404</title>", NO),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", NO),
    "PDF": (b"%PDF-1.7\n" + bytes(900), NO),
    "EPS, which Ghostscript would run": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", NO),
    "Photoshop": (b"8BPS\0\1" + bytes(900), NO),
    "an archive": (b"PK\3\4" + bytes(900), NO),
    "a pickle": (b"\x80\x04\x95" + bytes(90), NO),
    "HEIC": (ftyp(b"heic"), "HEIC file that cannot be decoded; convert it to JPEG"),
    "AVIF": (ftyp(b"avif"), "but AVIF; convert it to JPEG"),
    "a film": (ftyp(b"isom"), "but ISOM; convert it to JPEG"),
    "JPEG cut short": (JPEG[: len(JPEG) // 2], DAMAGED),
    "JPEG without its end": (JPEG[:-500], DAMAGED),
    "JPEG of a header alone": (JPEG[:20], ""),
    "PNG cut short": (PNG[: len(PNG) // 2], DAMAGED),
    "PNG with a wrong checksum": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], DAMAGED),
    "PNG without pixels": (png(60, 80), DAMAGED),
    "PNG that unpacks to 2.7 GB": (png(30_000, 30_000, chunk(b"IDAT", b"x")), "more than"),
    "PNG as large as PNG can say": (png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"x")), "more than"),
    "PNG of no width": (png(0, 80, chunk(b"IDAT", b"x")), ""),
    "PNG with a text that unpacks to 200 MB": (text_bomb(), ""),
    "PNG with a long text": (_gps(), ""),
    "GIF of 65535 x 65535": (b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b";", ""),
    "GIF without a frame": (b"GIF89a\x50\0\x50\0\x80\0\0" + bytes(6) + b";", NO),
    "BMP of a negative size": (
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, -60, -80, 1, 24, *[0] * 6),
        "",
    ),
    "TIFF whose pages go in a circle": (tiff((256, 4, 1, 60), (257, 4, 1, 80), next_ifd=8), ""),
    "TIFF with 4 thousand million values": (
        tiff((256, 4, 1, 60), (257, 4, 1, 80), (273, 4, 2**32 - 1, 8)),
        "",
    ),
    "TIFF of 4294967295 pixels a side": (
        tiff((256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), (258, 3, 1, 8)),
        "",
    ),
    "WEBP cut short": (encoded(PHOTO, "WEBP")[:400], DAMAGED),
    "JPEG whose 5000 scans take minutes": (scans(5000, 4000), "would take hours to decode"),
    "1 x 1": (encoded(Image.new("RGB", (1, 1)), "PNG"), "below 32 px"),
    "a strip of 20000 x 32": (encoded(Image.new("RGB", (20_000, 32)), "PNG"), "more than 20 times"),
    "16-bit grey": (encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"), ""),
    "32-bit floats": (encoded(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF"), ""),
    "floats that are no numbers": (
        encoded(Image.fromarray(np.full((60, 80), np.nan, np.float32)), "TIFF"),
        "no finite",
    ),
    "CMYK": (encoded(PHOTO.convert("CMYK"), "JPEG"), ""),
    "Lab": (encoded(PHOTO.convert("LAB"), "TIFF"), ""),
    "one bit": (encoded(PHOTO.convert("1"), "PNG"), ""),
    "a palette": (encoded(PHOTO.convert("P"), "GIF"), ""),
    "transparent": (encoded(PHOTO.convert("RGBA"), "PNG"), ""),
    "animated": (encoded(PHOTO, "GIF", save_all=True, append_images=[Image.new("RGB", PHOTO.size)] * 9), ""),
    "EXIF that is garbage": (
        encoded(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 60),
        "",
    ),
    "EXIF with a rotation that there is not": (flag(99), ""),
    "a colour profile that is garbage": (encoded(PHOTO, "JPEG", icc_profile=b"\xff" * 3000), ""),
    "a photo with a film behind it": (JPEG + ftyp(b"mp42") * 9, ""),
}
"""Kind: (bytes, part of the reason)."""
