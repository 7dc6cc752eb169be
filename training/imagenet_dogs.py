"""The dogs among the 1000 ImageNet classes, and the ImageNet class of a dataset's class.

Row numbers come from the ILSVRC-2012 classification challenge, names and ids from ``dataset.wordnet_dogs``.
"""

import re
from collections.abc import Sequence

from dataset import breed_name
from dataset.wordnet_dogs import DOGS, WILD_DOGS

_FIRST_BREED, _FIRST_WILD = 151, 273
# Other names of the same breeds: WordNet's synonyms, and the kennel clubs' names, which Udacity's 133 folders have.
# Each must be exactly the same breed. The American Eskimo dog, for example, is not ImageNet's Eskimo dog.
_ALIASES = {
    "Airedale": ("Airedale terrier",),
    "American Staffordshire terrier": ("pit bull terrier", "Amstaff"),
    "Blenheim spaniel": ("Cavalier King Charles spaniel",),
    "Boston bull": ("Boston terrier",),
    "Brabancon griffon": ("Brussels griffon",),
    "Brittany spaniel": ("Brittany",),
    "Cardigan": ("Cardigan Welsh corgi",),
    "Doberman": ("Doberman pinscher", "Dobermann"),
    "EntleBucher": ("Entlebucher mountain dog",),
    "Appenzeller": ("Appenzeller Sennenhund",),
    "Eskimo dog": ("husky", "Canadian Eskimo dog"),
    "German shepherd": ("German shepherd dog", "Alsatian"),
    "German short-haired pointer": ("German shorthaired pointer",),
    "Great Pyrenees": ("Pyrenean mountain dog",),
    "Japanese spaniel": ("Japanese chin",),
    "Leonberg": ("Leonberger",),
    "Lhasa": ("Lhasa apso",),
    "Maltese dog": ("Maltese", "Maltese terrier"),
    "Mexican hairless": ("Xoloitzcuintli", "Mexican hairless dog"),
    "Old English sheepdog": ("bobtail",),
    "Pekinese": ("Pekingese",),
    "Pembroke": ("Pembroke Welsh corgi",),
    "Saint Bernard": ("St Bernard",),
    "Scotch terrier": ("Scottish terrier",),
    "Staffordshire bullterrier": ("Staffordshire bull terrier",),
    "Tibetan terrier": ("chrysanthemum dog",),
    "Walker hound": ("Walker foxhound", "treeing walker coonhound"),
    "basset": ("basset hound",),
    "bluetick": ("bluetick coonhound",),
    "bull mastiff": ("bullmastiff",),
    "cairn": ("cairn terrier",),
    "chow": ("chow chow",),
    "clumber": ("clumber spaniel",),
    "cocker spaniel": ("English cocker spaniel",),
    "Dandie Dinmont": ("Dandie Dinmont terrier",),
    "dalmatian": ("coach dog",),
    "English springer": ("English springer spaniel",),
    "groenendael": ("Belgian sheepdog", "Belgian groenendael"),
    "kelpie": ("Australian kelpie",),
    "malamute": ("Alaskan malamute",),
    "malinois": ("Belgian malinois",),
    "redbone": ("redbone coonhound",),
    "standard poodle": ("poodle",),
    "vizsla": ("Hungarian pointer",),
    "wire-haired fox terrier": ("wire fox terrier",),
    "African hunting dog": ("African wild dog", "Cape hunting dog"),
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_TABLE = {
    row: entry
    for first, dogs in ((_FIRST_BREED, DOGS), (_FIRST_WILD, WILD_DOGS))
    for row, entry in enumerate(dogs.items(), start=first)
}
DOG_ROWS: tuple[int, ...] = tuple(_TABLE)
"""Rows of the 1000 ImageNet logits whose probabilities add up to P(dog)."""

_BY_WNID = {wnid: row for row, (wnid, _) in _TABLE.items()}
_BY_NAME = {_plain(alias): row for row, (_, name) in _TABLE.items() for alias in (name, *_ALIASES.get(name, ()))}


def imagenet_row(label: str) -> int | None:
    """Return the ImageNet row of a class folder, by the WordNet id in its name or by the breed's name.

    ``071.German_shepherd_dog``, ``085.German_shepherd`` and ``n02106662-German_shepherd`` all give 235.

    Returns:
        The row, 0 to 999; None if ImageNet does not know the breed.
    """
    wnid = re.search(r"n\d{8}", label)
    if wnid and wnid.group() in _BY_WNID:
        return _BY_WNID[wnid.group()]
    return _BY_NAME.get(_plain(breed_name(label)))


def imagenet_rows(labels: Sequence[str]) -> list[int | None]:
    """Return the ``imagenet_row`` of every class, in order."""
    return [imagenet_row(label) for label in labels]
