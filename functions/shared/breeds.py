"""Names of breeds as people give them."""

import unicodedata


def form(name: str) -> str:
    """Return the form in which two names of a breed are compared: without capitals and more spaces."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def names(label: str, breed: str) -> set[str]:
    """Return the names of a class in that form: its folder's, and the one that people read."""
    return {form(label), form(breed)}
