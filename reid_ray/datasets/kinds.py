"""Tell photos from other files. In: a file's name and, else its first bytes. Out: a kind."""

from collections.abc import Callable
from typing import Literal

Kind = Literal["photo", "unread", "other"]
"""A photo; one in a format that is not read; anything else."""

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
        *(".heic", ".heif", ".hif", ".avif"),
    }
)
"""Files taken for photos, in any case; what is inside them is decided by their content."""

UNREAD = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc"),
        *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
        *(".srf", ".srw", ".x3f", ".jp2", ".j2k", ".jpx", ".jxl", ".jxr", ".psd", ".xcf"),
    }
)
"""Photos as cameras and editors write them; often a JPEG lies beside."""

_OTHERS = frozenset(
    {
        *(".csv", ".tsv", ".txt", ".md", ".json", ".jsonl", ".xml", ".xmp", ".yaml", ".yml", ".html", ".pdf"),
        *(".xlsx", ".xls", ".xlsm", ".ods", ".doc", ".docx", ".parquet", ".pq", ".feather", ".rds", ".rdata"),
        *(".mp4", ".mov", ".avi", ".mkv", ".mts", ".m2ts", ".m4v", ".wmv", ".3gp", ".asf", ".mpg", ".mpeg"),
        *(".wav", ".mp3", ".zip", ".gz", ".tar", ".7z", ".rar", ".db", ".ddb", ".sqlite", ".ini", ".lnk"),
        *(".py", ".r", ".npy", ".npz", ".pt", ".safetensors", ".thm", ".lrv", ".log", ".ldb"),
    }
)
"""Files whose name says well enough that they are no photos; they are not opened."""

HEAD_BYTES = 16
"""First bytes of a file, from which its format is told."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


def kind_of(path: str, head: Callable[[str], bytes]) -> Kind:
    """By its suffix where that is known, else by the bytes that `head` reads of it."""
    suffix = suffix_of(path)
    if suffix in SUFFIXES:
        return "photo"
    if suffix in UNREAD:
        return "unread"
    if suffix in _OTHERS:
        return "other"
    return "photo" if is_photo(head(path)) else "other"


def is_photo(head: bytes) -> bool:
    """Whether a file that begins so is in a format that is read."""
    if head.startswith(_MAGIC):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    return is_heif(head) or (head[:2] == b"BM" and len(head) == HEAD_BYTES and head[6:10] == bytes(4))


def is_heif(head: bytes) -> bool:
    """HEIC, HEIF or AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def suffix_of(path: str) -> str:
    """In lower case with its dot; "" where there is none."""
    name = path.rpartition("/")[2].lstrip(".")
    return "." + name.rpartition(".")[2].lower() if "." in name else ""
