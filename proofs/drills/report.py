"""What a drill did and found, and whether its promises held."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """Filled while the drill goes on; what it does is said on stderr at once.

    did: sentences with the seconds since the beginning. figures: by name. promises: words to whether it held.
    """

    name: str
    did: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def say(self, sentence: str) -> None:
        """Something was done."""
        self.did.append(f"{time.monotonic() - self._began:6.1f} s  {sentence}")
        print(f"{self.name}  {self.did[-1]}", file=sys.stderr, flush=True)

    def promise(self, words: str, held: bool) -> None:
        """Something was promised."""
        self.promises[words] = held
        print(f"{self.name}  {'held' if held else 'BROKEN':>8}  {words}", file=sys.stderr, flush=True)

    @property
    def held(self) -> bool:
        """Whether all promises did; a drill without one has shown nothing."""
        return bool(self.promises) and all(self.promises.values())

    def document(self) -> dict[str, Any]:
        """As it is printed."""
        return {
            "drill": self.name,
            "held": self.held,
            "promises": self.promises,
            "figures": self.figures,
            "did": self.did,
        }
