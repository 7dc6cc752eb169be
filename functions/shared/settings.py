"""Settings from environment variables: read once, frozen, all of them required."""

import os
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Settings:
    """Base class of each function's settings. The field ``bucket`` is read from ``BUCKET``."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read all settings.

        Raises:
            KeyError: a variable is missing; the message is its name.
        """
        return cls(**{field.name: os.environ[field.name.upper()] for field in fields(cls)})
