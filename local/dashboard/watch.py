"""The command: show a stack's dashboard on the terminal and as a page, again and again until Ctrl-C."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.live import Live

from local import stack
from local.console import console, say_exactly, show
from local.dashboard import document, page, terminal
from local.dashboard.figures import Look, look
from local.home import LocalError
from local.laptop import Laptop

_EVERY = 5.0  # seconds of the cloud's clock between two looks
_AT_LEAST = (
    2.0  # seconds of this machine between two looks, which cost the laptop a function's run and eleven questions
)


def watch(cloud: Laptop, minutes: float, html: Path | None, once: bool) -> int:
    """Show the dashboard, and return the exit code.

    Args:
        cloud: the running laptop cloud.
        minutes: length of the window by the cloud's clock.
        html: a file to write it to as a page as well; None for none.
        once: whether one look is enough. Without a terminal and without a page, it is.

    Raises:
        LocalError: the stack has no dashboard, or a file cannot be written.
    """
    name = dashboard_name(cloud)
    every = max(_EVERY / cloud.time_scale, _AT_LEAST)
    if html and html.is_dir():
        raise LocalError(f"{html} is a folder; give the name of a file in it: --html {html / 'dashboard.html'}")

    def see(goes_on: bool) -> Look:
        # The document is read each time, because a deployment may change it.
        body = cloud.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
        seen = look(cloud, name, document.read(body), minutes, cloud.time_scale, datetime.now(UTC))
        if html:
            page.write(html, seen, every if goes_on else None)
        return seen

    output = console()
    if once or not (output.is_terminal or html):
        show(terminal.render(see(goes_on=False)), indent=0)
        _tell(html)
        return 0
    seen = see(goes_on=True)
    _tell(html)
    try:
        if output.is_terminal:
            with Live(terminal.render(seen), console=output, auto_refresh=False, screen=True) as live:
                while True:
                    time.sleep(every)
                    seen = see(goes_on=True)
                    live.update(terminal.render(seen), refresh=True)
        while True:
            time.sleep(every)
            seen = see(goes_on=True)
    except KeyboardInterrupt:  # What was seen last stays on the terminal and in the file.
        if html:
            page.write(html, seen, None)
        if output.is_terminal:
            show(terminal.render(seen), indent=0)
        return 0


def dashboard_name(cloud: Laptop, name: str = stack.STACK) -> str:
    """Return the name of a stack's dashboard.

    Raises:
        LocalError: the stack is not there, or has none.
    """
    description = stack.look_up(cloud, name)
    if not description:
        raise LocalError(f"there is no stack {name} yet; `make run` or `make up` deploys it")
    outputs = {each["OutputKey"]: each["OutputValue"] for each in description.get("Outputs", [])}
    if "DashboardName" not in outputs:
        raise LocalError(f"the stack {name} has no dashboard; `make up` deploys it with one (Dashboard=true)")
    return str(outputs["DashboardName"])


def _tell(html: Path | None) -> None:
    if html:
        say_exactly(f"the page: {html.resolve().as_uri()}")
