"""The settings of the prediction function."""

from dataclasses import dataclass

from shared.settings import Settings


@dataclass(frozen=True)
class ClassifySettings(Settings):
    """The settings of the prediction function, from its environment variables.

    Attributes:
        endpoint_name: SageMaker endpoint that answers.
        bucket: the stack's bucket, from which callers may name photos.
        allowed_origin: origin whose pages may call the API from a browser, such as ``https://example.org``;
            ``*`` for all origins, ``none`` for no other origin.
        shrink_photos: ``auto`` to send the endpoint less of a photo where that pays, ``off`` to send all of it.
    """

    endpoint_name: str
    bucket: str
    allowed_origin: str
    shrink_photos: str
