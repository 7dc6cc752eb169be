"""How a dataset is read: what the request of a run says about splits, equal photos and classes that are left out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dataset.split import SHARES


@dataclass(frozen=True)
class Reading:
    """What a run leaves out of a dataset, and how it makes splits.

    Attributes:
        shares: percent of train, valid and test where the dataset does not have them.
        drop_leaks: whether photos that stand in an earlier split, too, are left out of valid and test.
        drop_breeds: names of classes that are left out, by the name of their folder or as people read it.
    """

    shares: tuple[int, ...] = SHARES
    drop_leaks: bool = False
    drop_breeds: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> "Reading":
        """Return what ``to_json`` wrote."""
        fields = json.loads(text or "{}")
        return cls(
            shares_of(fields.get("split", "")), fields.get("leaks") == "drop", tuple(fields.get("drop_breeds", ()))
        )

    def to_json(self) -> str:
        """Return the differences from the usual as a JSON object; an empty text without any."""
        fields: dict[str, object] = {}
        if self.shares != SHARES:
            fields["split"] = "/".join(map(str, self.shares))
        if self.drop_leaks:
            fields["leaks"] = "drop"
        if self.drop_breeds:
            fields["drop_breeds"] = list(self.drop_breeds)
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False) if fields else ""


AS_IT_IS = Reading()


def shares_of(text: str) -> tuple[int, ...]:
    """Return the shares of train, valid and test that a text such as ``80/10/10`` names; the usual ones for none.

    Raises:
        ValueError: it names none.
    """
    parts: Sequence[str] = text.split("/") if text else [str(share) for share in SHARES]
    shares = tuple(int(part) if part.isdecimal() and len(part) < 4 else 0 for part in parts)
    if len(shares) != 3 or min(shares) < 1 or sum(shares) != 100:
        raise ValueError(
            f"'{text[:40]}' must be three whole percentages of train, valid and test that add up to 100, such as "
            "80/10/10"
        )
    return shares
