"""Page: serve what needs no key, the page, its health check, and preflights of browsers.

Strangers decide how often this function runs. So it may neither ask the endpoint nor read a photo, it logs no line and
puts no metric about what it refuses, and a concurrency of its own bounds it.
"""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from page import files, health, sign_in
from page.settings import PageSettings
from shared.doors import correlation_id, cors_of
from shared.problems import ProblemError, json_response

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

settings = PageSettings.from_environment()
logger = Logger()
cors = cors_of(settings.allowed_origin)
rest = APIGatewayRestResolver(cors=cors)


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer a proxy event of API Gateway (payload 1.0)."""
    return preflight(event) if event["httpMethod"] == "OPTIONS" else rest.resolve(event, context)


def preflight(event: dict[str, Any]) -> dict[str, Any]:
    """Tell a browser what a page of the allowed origin may send to any route; to another origin nothing."""
    origins = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    headers = cors.to_dict(origins.get("origin")) if cors else {}
    if headers:
        headers["Access-Control-Allow-Methods"] = "GET,OPTIONS,POST"
    return {"statusCode": 204, "headers": headers}


@rest.get("/health")
def check_health() -> Response[str]:
    """Answer whether a model serves."""
    if problem := health.problem(settings.champion_parameter):
        raise ProblemError(503, problem)
    return json_response('{"status": "serving"}')


@rest.get("/sign-in")
def how_to_sign_in() -> Response[str]:
    """Answer how callers show who they are. Nothing of it is secret."""
    return json_response(json.dumps(sign_in.configuration(rest.current_event.raw_event)))


@rest.get("/")
def page() -> Response[str | bytes]:
    """Answer with the page. Its links are relative, so they are valid only below a path that ends in a slash."""
    path = rest.current_event["requestContext"].get("path", "/")
    if not path.endswith("/"):
        return Response(HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": f"./{path.rpartition('/')[2]}/"})
    return files.page_file("index.html", sign_in.configuration(rest.current_event.raw_event).get("origin"))


@rest.get("/page/<name>")
def page_file(name: str) -> Response[str | bytes]:
    """Answer with a file of the page."""
    return files.page_file(name)


@rest.get("/page/examples/<name>")
def example(name: str) -> Response[str | bytes]:
    """Answer with one of the page's example photos."""
    return files.page_file(f"examples/{name}")


@rest.exception_handler(ProblemError)  # type: ignore[untyped-decorator]
def refuse(problem: ProblemError) -> Response[str]:
    """Answer with a problem document, and write nothing down."""
    return problem.response(_correlation_id())


@rest.exception_handler(NotFoundError)  # type: ignore[untyped-decorator]
def refuse_route(_: NotFoundError) -> Response[str]:
    """Answer an unknown path or method with a problem document."""
    return ProblemError(404, "there is no such path").response(_correlation_id())


@rest.exception_handler(Exception)  # type: ignore[untyped-decorator]
def fail(error: Exception) -> Response[str]:
    """Answer an unexpected error with a problem document that shows no details."""
    logger.exception("failed", extra={"correlation_id": _correlation_id()})
    return ProblemError(500, "the function failed; its log contains the correlation id").response(_correlation_id())


def _correlation_id() -> str:
    return correlation_id(rest.current_event.raw_event, rest.lambda_context)
