"""The trace that a request belongs to, by the W3C's recommendation: https://www.w3.org/TR/trace-context/.

A caller sends ``traceparent`` and perhaps ``tracestate``. What is no valid ``traceparent`` is ignored, and a new trace
begins. Each attempt to ask the model gets an id of its own. SageMaker passes none of these headers on, only the field
CustomAttributes, at most 1,024 visible characters, so they travel there behind the correlation id, and in the same
form to a model's function.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

_SAMPLED, _RANDOM = 1, 2  # the flags that the recommendation knows
_MAX_MEMBERS, _LARGE_MEMBER = 32, 128  # of tracestate; members above that many characters are the first to go
# Beside an id of 256 characters and traceparent, in CustomAttributes. Each space becomes three characters there.
_MAX_STATE = 640
# Of a higher version only the beginning is known. A test holds this equal to serving/trace_context.py.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_HEX = re.compile(r"(?!0{32})[0-9a-f]{32}")
_XRAY_ROOT = re.compile(r"Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?![^;])")


class TraceContext(NamedTuple):
    """A place in a trace.

    Attributes:
        trace_id: id of the trace, 32 hexadecimal digits.
        parent_id: id of the operation that asks, 16 hexadecimal digits; empty where the trace begins.
        flags: those of the recommendation that are set.
        state: ``tracestate``, which goes on as it came; empty without one.
    """

    trace_id: str
    parent_id: str
    flags: int = 0
    state: str = ""

    @property
    def is_sampled(self) -> bool:
        """Whether the caller records this trace."""
        return bool(self.flags & _SAMPLED)

    def next_hop(self) -> "TraceContext":
        """Return the context for what is asked next, with an id for this operation."""
        return self._replace(parent_id=os.urandom(8).hex())

    def behind(self, correlation_id: str) -> str:
        """Return a correlation id followed by ``traceparent`` and ``tracestate``, in visible characters."""
        parent = f"{correlation_id};traceparent=00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"
        return f"{parent};tracestate={_written(self.state)}" if self.state else parent


def trace_of(event: Mapping[str, Any], invocation_id: str) -> TraceContext:
    """Return the trace of a request; a new one if its caller names none that is valid.

    A new trace has the id of the invocation, which the log has anyway.

    Args:
        event: a proxy event of API Gateway (payload 1.0) or of a function URL (payload 2.0).
        invocation_id: Lambda's, a UUID.
    """
    headers: dict[str, list[str]] = {"traceparent": [], "tracestate": []}
    for name, value in _headers(event):
        if name in headers:
            headers[name].append(value)
    parents = headers["traceparent"]
    parent = _PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
    if not parent or (parent[1] == "00" and parent[5]):
        own = invocation_id.replace("-", "").lower()
        return TraceContext(own if _HEX.fullmatch(own) else os.urandom(16).hex(), "")
    flags = int(parent[4], 16) & (_SAMPLED | _RANDOM)
    return TraceContext(parent[2], parent[3], flags, _state(",".join(headers["tracestate"])))


def xray_root(header: str) -> str:
    """Return the id of the trace that X-Ray records by its own header; empty if it records none."""
    root = _XRAY_ROOT.search(header) if "Sampled=1" in header else None
    return root[1] if root else ""


def _headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names in lower case and values. Payload 2.0 joins headers of one name by commas."""
    several = event.get("multiValueHeaders") or {}
    for name, values in several.items():
        for value in values or ():
            yield name.lower(), str(value)
    if not several:
        for name, value in (event.get("headers") or {}).items():
            yield name.lower(), str(value)


def _state(text: str) -> str:
    """Return a ``tracestate`` with each key once; empty if it is not valid."""
    key, shown = r"[a-z0-9][a-z0-9_\-*/@]{0,255}", r"\x21-\x2b\x2d-\x3c\x3e-\x7e"
    member = re.compile(rf"({key})=[\x20{shown}]{{0,255}}[{shown}]")  # compiled where a caller sends one
    members: dict[str, str] = {}
    present = [each for each in (part.strip(" \t") for part in text.split(",")) if each]
    if len(present) > _MAX_MEMBERS:
        return ""
    for each in present:
        if not (found := member.fullmatch(each)):
            return ""
        members.setdefault(found[1], each)
    return ",".join(members.values())


def _written(state: str) -> str:
    """Return a ``tracestate`` without spaces, by whole members cut to what CustomAttributes takes.

    Those above ``_LARGE_MEMBER`` characters go first and then the last ones, as the recommendation says.
    """
    members = state.split(",")
    while len(written := quote(",".join(members), safe="!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")) > _MAX_STATE:
        large = [index for index, member in enumerate(members) if len(member) > _LARGE_MEMBER]
        del members[large[-1] if large else -1]
    return written
