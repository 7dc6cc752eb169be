"""The page's files, by their exact names."""

from functools import cache
from pathlib import Path

from aws_lambda_powertools.event_handler import Response

from classify.problems import Problem

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
    """A file of the page.

    Args:
        name: below the page's folder, with ``/``.

    Raises:
        Problem: 404.
    """
    if name not in _names():
        raise Problem(404, "the page has no such file")
    file = FOLDER / name
    content_type = _CONTENT_TYPES[file.suffix]
    # Bytes travel as base64, which API Gateway undoes only for callers that say what they accept.
    body = file.read_text() if content_type in _TEXTS else file.read_bytes()
    return Response(200, content_type, body, headers=_HEADERS)


@cache
def _names() -> frozenset[str]:
    files = (file for file in FOLDER.rglob("*") if file.suffix in _CONTENT_TYPES)
    return frozenset(file.relative_to(FOLDER).as_posix() for file in files)
