"""The settings of the prediction function."""

from dataclasses import dataclass

from shared.settings import Settings


@dataclass(frozen=True)
class ClassifySettings(Settings):
    """The settings of the prediction function, from its environment variables.

    Attributes:
        hosting: what is asked first: ``instances`` of the endpoint, or the model's ``function``; ``auto`` counts as
            instances.
        hosting_parameter: the parameter that says which of them serves.
        endpoint_name: SageMaker endpoint that answers.
        model_function: Lambda function that answers.
        bucket: the stack's bucket, from which callers may name photos.
        allowed_origin: origin whose pages may call the API from a browser, such as ``https://example.org``;
            ``*`` for all origins, ``none`` for no other origin.
        shrink_photos: ``auto`` to send the endpoint less of a photo where that pays, ``off`` to send all of it.
    """

    hosting: str
    hosting_parameter: str
    endpoint_name: str
    model_function: str
    bucket: str
    allowed_origin: str
    shrink_photos: str
