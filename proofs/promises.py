"""Records the steps, the figures and the kept or broken promises of a drill or of the proof of rights."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """The result of a drill, which is filled while the drill runs. Each new entry is also printed on stderr.

    Attributes:
        name: of the drill.
        did: sentences about its steps, each with the seconds since the start.
        figures: measured values by name.
        promises: for each promise in words, whether it held.
    """

    name: str
    did: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def log(self, sentence: str) -> None:
        """Record a step."""
        self.did.append(f"{time.monotonic() - self._started:6.1f} s  {sentence}")
        print(f"{self.name}  {self.did[-1]}", file=sys.stderr, flush=True)

    def promise(self, words: str, held: bool) -> None:
        """Record whether a promise held. A promise that was broken once stays broken."""
        self._add(words, held)
        print(f"{self.name}  {'held' if held else 'BROKEN':>8}  {words}", file=sys.stderr, flush=True)

    def include_promises(self, other: "Report") -> None:
        """Add the promises of another report."""
        for words, held in other.promises.items():
            self._add(words, held)

    def _add(self, words: str, held: bool) -> None:
        self.promises[words] = held and self.promises.get(words, True)

    @property
    def held(self) -> bool:
        """Whether all promises held. A drill without promises has shown nothing, so this is False."""
        return bool(self.promises) and all(self.promises.values())

    def document(self) -> dict[str, Any]:
        """Return the report as the JSON document that is printed."""
        return {
            "drill": self.name,
            "held": self.held,
            "promises": self.promises,
            "figures": self.figures,
            "did": self.did,
        }
