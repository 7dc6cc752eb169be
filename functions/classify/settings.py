"""What the prediction function is told by its environment."""

from dataclasses import dataclass

from shared.settings import Settings


@dataclass(frozen=True)
class ClassifySettings(Settings):
    """The endpoint that answers, the bucket that photos may lie in, and whose pages may ask.

    allowed_origin: an origin such as ``https://example.org``, ``*`` for all, or ``none``.
    """

    endpoint_name: str
    bucket: str
    allowed_origin: str
