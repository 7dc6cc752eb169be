"""Serve the files of the page by their exact names."""

from functools import cache
from pathlib import Path

from aws_lambda_powertools.event_handler import Response

from classify.problems import ProblemError

FOLDER = Path(__file__).parent / "page"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
_TEXTS = [kind for kind in _CONTENT_TYPES.values() if kind.startswith("text/") or kind.endswith("+xml")]
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Cache-Control": "max-age=300",
}


def page_file(name: str) -> Response[str | bytes]:
    """Return a file of the page.

    Args:
        name: path below the page's folder, with ``/``.

    Raises:
        ProblemError: 404, the page has no such file.
    """
    if name not in _names():
        raise ProblemError(404, "the page has no such file")
    file = FOLDER / name
    content_type = _CONTENT_TYPES[file.suffix]
    # Send text as text: API Gateway decodes base64 only for callers that send a matching Accept header.
    body = file.read_text() if content_type in _TEXTS else file.read_bytes()
    return Response(200, content_type, body, headers=_HEADERS)


@cache
def _names() -> frozenset[str]:
    files = (file for file in FOLDER.rglob("*") if file.suffix in _CONTENT_TYPES)
    return frozenset(file.relative_to(FOLDER).as_posix() for file in files)
