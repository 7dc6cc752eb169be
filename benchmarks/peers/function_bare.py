"""A function that answers at once, the least that any function takes."""

from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer without looking at the photo."""
    return {"class": ""}
