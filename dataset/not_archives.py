"""Say in words what a file is that is called an archive and is none that is read."""

import re

from dataset.photo_bytes import format_name, media_type

_JOIN = "is a part of an archive in parts; join them, or pack the photos anew as one zip or tar"
_UNPACK = "unpack it and give the folder, or pack the photos as a zip or tar"
_KINDS = (
    (rb"(?i)\s*(<!doctype|<html|<\?xml)", "is a web page: the download needs a login, or another address"),
    (rb"version https://git-lfs", "is a pointer of Git LFS; fetch the file itself with git lfs pull"),
    (rb"Rar!\x1a\x07", f"is a RAR archive; {_UNPACK}"),
    (rb"7z\xbc\xaf'\x1c", f"is a 7-Zip archive; {_UNPACK}"),
    (rb"\x28\xb5\x2f\xfd", f"is compressed by Zstandard; {_UNPACK}"),
    (rb"\x04\x22\x4d\x18", f"is compressed by LZ4; {_UNPACK}"),
    (rb"\x1f\x9d", f"is compressed by compress; {_UNPACK}"),
    (rb"\x5d\0\0.{10}", f"is compressed by LZMA alone; {_UNPACK}"),
    (rb"PK\x07\x08", _JOIN),
)


def words(head: bytes, name: str) -> str:
    """Return what is wrong with a file, to follow its name; empty if that is not known.

    Args:
        head: the file's first bytes, 512 or fewer if it has no more.
        name: the file's name.
    """
    if not head:
        return "is empty; fetch or pack it anew"
    for signature, what in _KINDS:
        if re.match(signature, head, re.DOTALL):
            return what
    if re.search(r"\.(z\d\d|\d{3}|part\d+(\.rar)?)$", name, re.IGNORECASE):
        return _JOIN
    if kind := media_type(head) or format_name(head):
        return f"is one file ({kind}); give the folder or archive with all photos"
    return ""


def inner_words(head: bytes) -> str:
    """Return what is wrong with the content of a compressed file that is no tar; empty if that is not known."""
    if head.startswith(b"PK"):
        return "is a zip that was compressed again; decompress it once (gunzip)"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "was compressed twice; decompress it once (gunzip)"
    return ""


def is_last_part(tail: bytes) -> bool:
    """Whether a zip is the last part of several.

    Args:
        tail: its last bytes, 65,557 or fewer if it has no more.
    """
    at = tail.rfind(b"PK\5\6")
    # "Number of this disk", section 4.3.16 of APPNOTE; 0xFFFF says that Zip64's record has the number.
    return at >= 0 and tail[at + 4 : at + 6] not in (b"\0\0", b"\xff\xff", b"")
