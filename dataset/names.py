"""Names that people chose, as they may be printed and sent on."""

import re
from collections.abc import Iterable

MAX_NAMED = 5  # number of items that a message names before it counts the rest
# Control characters, which a terminal obeys, ends of lines, turned directions of writing, and bytes that are not UTF-8
# as Python keeps them. All other characters may be in a name.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_plain(name: str) -> bool:
    """Whether a name has no character that would do something else than show itself."""
    return not _ODD.search(name)


def printable(text: str, keep: str = "") -> str:
    r"""Return text with such characters as escapes, for example ``\x1b``.

    Args:
        text: the text.
        keep: characters that stay, such as the ends of lines.
    """
    return _ODD.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


def named(items: Iterable[str]) -> str:
    """Return the first few items as text, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return printable(", ".join(items[:MAX_NAMED]) + more)
