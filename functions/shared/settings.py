"""Environment variables, read once and frozen; what must be given has no default."""

import os
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Settings:
    """Base of each function's settings: a field ``bucket`` is read from ``BUCKET``."""

    @classmethod
    def from_environment(cls) -> Self:
        """Raises: KeyError, naming the first variable that is missing."""
        return cls(**{field.name: os.environ[field.name.upper()] for field in fields(cls)})
