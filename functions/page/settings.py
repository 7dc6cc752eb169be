"""The settings of the page's function."""

from dataclasses import dataclass

from shared.settings import Settings


@dataclass(frozen=True)
class PageSettings(Settings):
    """The settings of the page's function, from its environment variables.

    Attributes:
        champion_parameter: the parameter that names the model that serves.
        allowed_origin: origin whose pages may ask for health from a browser; ``*`` for all, ``none`` for no other.
    """

    champion_parameter: str
    allowed_origin: str
