"""What the model server and the function answer alike, beside predictions."""

import json
from typing import Any

from serving.preprocess import MAX_BYTES, PhotoTooLargeError, UnsupportedPhotoError
from serving.served_artifact import ServedArtifact

FAILED = "The model server failed; see its log."
BREEDS_QUESTION = {"describe": "breeds"}


def breeds(question: Any, artifact: ServedArtifact) -> dict[str, Any]:
    """Answer the one question for the breeds that the model knows.

    Args:
        question: The JSON that somebody sent.
        artifact: The model.

    Raises:
        UnsupportedPhotoError: It is another question.
    """
    if question != BREEDS_QUESTION:
        raise UnsupportedPhotoError(
            f"The JSON is not the question {json.dumps(BREEDS_QUESTION)}; send a photo as its own bytes, without JSON."
        )
    return {"breeds": [label.breed for label in artifact.labels]}


def too_many_bytes() -> PhotoTooLargeError:
    """Return the refusal of a photo that has more bytes than a request may have."""
    return PhotoTooLargeError(f"The image has more than {MAX_BYTES // 1_000_000} MB; send a smaller one.")


def error_document(code: str, message: str) -> dict[str, Any]:
    """Return the document of a refusal."""
    return {"error": {"code": code, "message": message}}
