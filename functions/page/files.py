"""Serve the files of the page by their exact names."""

from functools import cache
from pathlib import Path

from aws_lambda_powertools.event_handler import Response

from shared.problems import ProblemError

FOLDER = Path(__file__).parent / "site"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
_TEXTS = [kind for kind in _CONTENT_TYPES.values() if kind.startswith("text/") or kind.endswith("+xml")]
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'{}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Cache-Control": "max-age=300",
}


def page_file(name: str, sign_in_origin: str | None = None) -> Response[str | bytes]:
    """Return a file of the page.

    Args:
        name: path below the page's folder, with ``/``.
        sign_in_origin: where the page exchanges the code of a sign-in for a token; None where nobody signs in.

    Raises:
        ProblemError: 404, the page has no such file.
    """
    if name not in _names():
        raise ProblemError(404, "the page has no such file")
    file = FOLDER / name
    content_type = _CONTENT_TYPES[file.suffix]
    # Send text as text: API Gateway decodes base64 only for callers that send a matching Accept header.
    body = file.read_text() if content_type in _TEXTS else file.read_bytes()
    policy = _POLICY.format(f" {sign_in_origin}" if sign_in_origin else "")
    return Response(200, content_type, body, headers={"Content-Security-Policy": policy, **_HEADERS})


@cache
def _names() -> frozenset[str]:
    files = (file for file in FOLDER.rglob("*") if file.suffix in _CONTENT_TYPES)
    return frozenset(file.relative_to(FOLDER).as_posix() for file in files)
