"""A mailbox for what a topic of the laptop cloud sends: a subscriber that listens on loopback."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.home import LocalError
from local.laptop import Cloud

_INVITED_SECONDS = 60.0  # A topic invites a new subscriber at once; a busy machine takes longer.


@contextlib.contextmanager
def mailbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Listen on loopback; yield the address to subscribe, and the list of messages that arrive there."""
    received: list[dict[str, Any]] = []

    class Subscriber(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Subscriber)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", received
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def subscribed(cloud: Cloud, topic: str) -> Iterator[list[dict[str, Any]]]:
    """Subscribe to a topic as a person does, who confirms it; yield the list of its messages; end the subscription.

    Args:
        cloud: the laptop cloud.
        topic: the topic's ARN.

    Raises:
        LocalError: the topic did not invite the subscriber.
    """
    sns = cloud.client("sns")

    def accept() -> str:
        """Accept the topic's invitation, and return the subscription's ARN."""
        deadline = time.monotonic() + _INVITED_SECONDS
        while not (tokens := [each["Token"] for each in received if "Token" in each]):
            if time.monotonic() > deadline:
                raise LocalError(f"the topic {topic} has not invited its new subscriber")
            time.sleep(0.05)
        return str(sns.confirm_subscription(TopicArn=topic, Token=tokens[0])["SubscriptionArn"])

    with mailbox() as (address, received):
        subscription = ""
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=address)
        try:
            subscription = accept()
            received.clear()
            yield received
        finally:  # One that is not accepted cannot be ended, so an interrupted one is accepted first.
            sns.unsubscribe(SubscriptionArn=subscription or accept())
