"""Report on the photos of all ranks: unreadable photos, and photos that are in two splits."""

import hashlib
from collections.abc import Collection, Mapping

from dataset import Listing, Photo
from dataset.faults import Unreadable, counted, refuse_empty_classes, sentences
from dataset.layout import named
from training.photos import HashedPhotos


class DataReport:
    """What people and the later steps should know about the photos; the same on every rank.

    Args:
        listing: the whole dataset.
        photos: the hashed photos by split, ``train`` and ``valid``.
        unreadable: the photos that could not be read or decoded.
    """

    def __init__(
        self, listing: Listing, photos: Mapping[str, HashedPhotos], unreadable: Collection[Unreadable]
    ) -> None:
        self._listing, self._unreadable = listing, sorted(unreadable)
        lost = {photo.path for photo in unreadable}
        self._readable: dict[str, list[Photo]] = {}
        self._hashes: dict[str, dict[str, str]] = {}
        for split, hashed in photos.items():
            pairs = [
                (photo, digest)
                for photo, digest in zip(hashed.photos, hashed.hashes, strict=True)
                if photo.path not in lost
            ]
            self._readable[split] = [photo for photo, _ in pairs]
            # Reversed, so that of equal photos in a split the first one is named.
            self._hashes[split] = {digest: photo.path for photo, digest in reversed(pairs)}

    def readable(self, split: str) -> list[Photo]:
        """Return the readable photos of a split, in the listing's order."""
        return self._readable[split]

    def digest(self) -> str:
        """Return 16 hex digits that depend on every readable photo's bytes and path."""
        return hashlib.sha256(repr(self._hashes).encode()).hexdigest()[:16]

    def leaked(self) -> list[dict[str, str]]:
        """Return the validation photos that are also training photos, byte for byte."""
        train, valid = self._hashes["train"], self._hashes["valid"]
        return [
            {"photo": valid[d], "also": train[d]} for d in sorted(valid.keys() & train.keys(), key=valid.__getitem__)
        ]

    def refuse_empty_classes(self, where: str) -> None:
        """Check that every class has a readable photo in each split.

        Args:
            where: the dataset's location, for the message.

        Raises:
            DatasetError: a class has none; the message names the classes and the unreadable photos.
        """
        refuse_empty_classes(self._listing, self._unreadable, where)

    def sentences(self) -> list[str]:
        """Return the problems as sentences for people; none if there are no problems."""
        lines = []
        for split in self._readable:
            if lost := self._unreadable_in(split):
                paths, reasons = named(photo.path for photo in lost), "; ".join(sentences(counted(lost)))
                lines.append(f"{len(lost)} unreadable photos in {split}/ left out: {paths} ({reasons})")
        if leaked := self.leaked():
            pairs = (f"{leak['photo']} is {leak['also']}" for leak in leaked)
            lines.append(f"{len(leaked)} photos are in two splits: {named(pairs)}")
        return lines

    def document(self) -> dict[str, object]:
        """Return the content of ``data.json``."""
        return {
            "splits": {
                split: {
                    "photos": len(photos),
                    "unreadable": {photo.path: photo.reason for photo in self._unreadable_in(split)},
                }
                for split, photos in self._readable.items()
            },
            "hashes": self._hashes,
            "leaked": self.leaked(),
            "ignored": len(self._listing.ignored),
        }

    def _unreadable_in(self, split: str) -> list[Unreadable]:
        return [photo for photo in self._unreadable if photo.split == split]
