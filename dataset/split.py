"""Split the photos of a class by a fixed rule that depends on nothing but names and sizes.

So Plan, which sees a listing only, each rank of the training, the evaluation and the laptop split alike.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

SHARES = (80, 10, 10)  # percent of train, valid and test
_COPY = re.compile(r"[ _-]*(?:\(\d+\)|(?:cop(?:y|ie|ia)|kopie|aug(?:mented)?|edited|flip(?:ped)?)[ _-]*\d*)$")


def assign(photos: Sequence[tuple[str, int]], shares: Mapping[str, int], missing: Sequence[str]) -> list[str]:
    """Return the split of each photo of one class: ``train`` or one of the missing splits.

    Args:
        photos: file name and size in bytes of each.
        shares: share of each split.
        missing: the splits to take from train.
    """
    groups = _groups(photos)
    if len(groups) <= len(missing):  # All have one size, so the size says nothing about equal photos.
        groups = [[index] for index in range(len(photos))]
    groups.sort(key=lambda group: hashlib.sha256(min(photos[index][0] for index in group).encode()).digest())
    total = shares["train"] + sum(shares[split] for split in missing)
    sides = ["train"] * len(photos)
    for split in missing:
        left = max(1, round(len(photos) * shares[split] / total))
        chosen = []
        for group in groups:
            if len(group) <= left:
                chosen.append(group)
                left -= len(group)
        if not chosen and len(groups) > 1:
            chosen = [min(groups, key=len)]
        if len(chosen) == len(groups):  # Something must be left to train on.
            chosen = chosen[:-1]
        for group in chosen:
            groups.remove(group)
            for index in group:
                sides[index] = split
    return sides


def _groups(photos: Sequence[tuple[str, int]]) -> list[list[int]]:
    """Join photos of one size, and those whose names say that one is a copy or a change of the other."""
    stems = [PurePosixPath(name).stem.casefold() for name, _ in photos]
    counts = Counter(stems)
    parent = list(range(len(photos)))

    def top(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    first: dict[object, int] = defaultdict(lambda: -1)
    for index, (stem, (_, size)) in enumerate(zip(stems, photos, strict=True)):
        original = stem.partition(".rf.")[0]  # Roboflow's name of a changed photo
        # "dog (1)" beside "dog" is a copy. Without "dog" the number only counts the photos.
        if (bare := _COPY.sub("", original)) in counts:
            original = bare
        for key in (size, original):
            if first[key] < 0:
                first[key] = index
            else:
                parent[top(index)] = top(first[key])
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(photos)):
        groups[top(index)].append(index)
    return list(groups.values())
