"""What the ranks found in the photos together: unreadable ones, and photos that are in two splits."""

import hashlib
from collections.abc import Collection, Mapping

from dataset import DatasetError, Listing, Photo
from dataset.layout import check_classes, named
from training.photos import Hashed


class DataReport:
    """What a person and the later steps should know of the photos; the same on every rank.

    Args:
        listing: the whole dataset.
        hashed: the splits that are trained on and validated with.
        unreadable: paths of photos that could not be read or decoded.
    """

    def __init__(self, listing: Listing, hashed: Mapping[str, Hashed], unreadable: Collection[str]) -> None:
        self._listing, self._unreadable = listing, frozenset(unreadable)
        self._readable: dict[str, list[Photo]] = {}
        self._hashes: dict[str, dict[str, str]] = {}
        for split, found in hashed.items():
            pairs = [
                (photo, digest)
                for photo, digest in zip(found.photos, found.hashes, strict=True)
                if photo.path not in self._unreadable
            ]
            self._readable[split] = [photo for photo, _ in pairs]
            # Of equal photos within a split the first is named.
            self._hashes[split] = {digest: photo.path for photo, digest in reversed(pairs)}

    def readable(self, split: str) -> list[Photo]:
        """The photos of a split that can be used, in the listing's order."""
        return self._readable[split]

    def digest(self) -> str:
        """16 hex digits over every photo's bytes and place."""
        return hashlib.sha256(repr(self._hashes).encode()).hexdigest()[:16]

    def leaked(self) -> list[dict[str, str]]:
        """Validation photos that are training photos too, byte for byte."""
        train, valid = self._hashes["train"], self._hashes["valid"]
        return [
            {"photo": valid[d], "also": train[d]} for d in sorted(valid.keys() & train.keys(), key=valid.__getitem__)
        ]

    def refuse_empty_classes(self, where: str) -> None:
        """Refuse a class that has no readable photo left in a split.

        Raises:
            DatasetError: naming the classes and the unreadable photos.
        """
        readable = [photo for photo in self._listing.photos if photo.path not in self._unreadable]
        try:
            check_classes(self._listing.classes, readable, where)
        except DatasetError as error:
            bad = sorted(self._unreadable)
            raise DatasetError(f"{error}; {len(bad)} photos could not be read: {named(bad)}") from error

    def sentences(self) -> list[str]:
        """What a person should know, empty when all is well."""
        lines = []
        for split, paths in self._left_out().items():
            if paths:
                lines.append(f"{len(paths)} unreadable photos in {split}/ left out: {named(paths)}")
        if leaked := self.leaked():
            pairs = (f"{leak['photo']} is {leak['also']}" for leak in leaked)
            lines.append(f"{len(leaked)} photos are in two splits: {named(pairs)}")
        return lines

    def document(self) -> dict[str, object]:
        """``data.json``."""
        unreadable = self._left_out()
        return {
            "splits": {
                split: {"photos": len(photos), "unreadable": unreadable[split]}
                for split, photos in self._readable.items()
            },
            "hashes": self._hashes,
            "leaked": self.leaked(),
            "ignored": len(self._listing.ignored),
        }

    def _left_out(self) -> dict[str, list[str]]:
        return {
            split: sorted(path for path in self._unreadable if path.startswith(f"{split}/")) for split in self._readable
        }
