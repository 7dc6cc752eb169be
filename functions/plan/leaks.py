"""Photos of a prefix in S3 that stand in two splits, found without a download of the dataset."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from dataset import Listing, Photo
from dataset.duplicates import duplicates, of_equal_size
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_PHOTOS, _MAX_BYTES = 2_000, 300_000_000  # that are read to compare them
_NUM_SAMPLES = 3
_NUM_THREADS = 10  # as many as botocore's pool has connections


class Leaks(NamedTuple):
    """Photos in two splits.

    Attributes:
        pairs: each photo of valid or test with the photo of an earlier split that equals it.
        unknown: number of photos that were not compared, though another split has one of the same size.
    """

    pairs: tuple[tuple[Photo, Photo], ...]
    unknown: int


def of_archive(listing: Listing, sums: Mapping[str, object]) -> Leaks:
    """Find them by the check sums of an archive's files.

    Args:
        listing: the dataset.
        sums: CRC-32 of each file by its path; files without one are not compared.
    """
    sized = of_equal_size(listing)
    digests = {photo: f"{photo.size} {sums[file]}".encode() for photo in sized if (file := listing.file(photo)) in sums}
    return Leaks(duplicates(digests).splits, len(sized) - len(digests))


def of_prefix(s3: "S3Client", location: Location, listing: Listing, etags: Mapping[str, str]) -> Leaks:
    """Find them among the photos of equal size: by their ETags if these are hashes of the content, else by reading.

    An ETag is the MD5 of the object "encrypted by SSE-S3 or plaintext", and is not if it is "encrypted by SSE-C or
    SSE-KMS" or was uploaded in parts (botocore's model of S3, shape Object); the stack's own bucket has SSE-KMS. A
    listing does not tell the encryption, so a few objects do.

    Args:
        s3: client of S3.
        location: the prefix.
        listing: the dataset.
        etags: the ETag of each file by its path.
    """
    sized = of_equal_size(listing)

    def read(photo: Photo) -> bytes:
        key = location.key + listing.file(photo)
        return s3.get_object(Bucket=location.bucket, Key=key)["Body"].read()

    def tag(photo: Photo) -> str:
        return etags[listing.file(photo)].strip('"')

    def is_md5(photo: Photo) -> bool:
        return hashlib.md5(read(photo), usedforsecurity=False).hexdigest() == tag(photo)

    whole = [photo for photo in sized if "-" not in tag(photo)]
    samples = whole[:: len(whole) // _NUM_SAMPLES + 1]
    known = whole if samples and all(map(is_md5, samples)) else []
    digests = {photo: tag(photo).encode() for photo in known}
    if len(known) < len(sized):  # A hash of one kind says nothing about a hash of another.
        chosen = list(_within_limits(sized))
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            contents = pool.map(lambda photo: hashlib.sha256(read(photo)).digest(), chosen)
            digests = dict(zip(chosen, contents, strict=True))
    return Leaks(duplicates(digests).splits, len(sized) - len(digests))


def _within_limits(photos: Sequence[Photo]) -> Iterator[Photo]:
    left = _MAX_BYTES
    for photo in photos[:_MAX_PHOTOS]:
        left -= photo.size
        if left < 0:
            return
        yield photo
