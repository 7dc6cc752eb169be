"""The trace that a request belongs to, by the W3C's recommendation: https://www.w3.org/TR/trace-context/.

The model asks nobody else, so of a request's trace it needs the ids, for its log, and whether the caller records it.
"""

import re
from collections.abc import Mapping
from typing import Any

# A test holds this equal to functions/classify/trace_context.py, where each attempt to ask gets its id.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1  # the flag of a trace that the caller records
_MAX_ID = 256  # characters of a correlation id in the log


def trace_facts(header: object) -> tuple[dict[str, Any], bool]:
    """Return what the log says of a ``traceparent``, nothing if it is invalid, and whether the caller records it.

    Args:
        header: The value of the header, of whatever type.
    """
    parent = _PARENT.fullmatch(header.strip(" \t")) if isinstance(header, str) else None
    if not parent or (parent[1] == "00" and parent[5]):
        return {}, False
    return {"trace_id": parent[2], "parent_id": parent[3]}, bool(int(parent[4], 16) & _SAMPLED)


def caller_facts(attributes: object) -> tuple[dict[str, Any], bool]:
    """Return what the log says of a request's ids, and whether the caller records the trace.

    Args:
        attributes: ``ID``, or ``ID;traceparent=VALUE`` and perhaps more, as the prediction function sends it, or of
            whatever type.
    """
    if not isinstance(attributes, str) or not attributes:
        return {}, False
    correlation_id, _, rest = attributes.partition(";traceparent=")
    facts, is_sampled = trace_facts(rest.partition(";")[0])
    return {"correlation_id": correlation_id[:_MAX_ID], **facts}, is_sampled


def header_of(event: Mapping[str, Any]) -> object:
    """Return the ``traceparent`` of an event of the function's URL, whose names of headers are in lower case."""
    headers = event.get("headers")
    return headers.get("traceparent") if isinstance(headers, dict) else None
