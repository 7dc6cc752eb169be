"""The command ``python -m proofs.aws_smoke``: asks, proves, cleans up, and prints the results."""

import argparse
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloud.core.processes import free_port
from local import laptop
from local.console import columns, say, say_exactly, show
from local.home import HOME, LocalError, keep_private, write_json
from proofs.aws_smoke.account import FOLDER, Account, Options, find_account
from proofs.aws_smoke.cleanup import clean_up, commands_to_delete
from proofs.aws_smoke.cost import quote
from proofs.aws_smoke.results import ResultTable
from proofs.aws_smoke.steps import COUNTS, prove

RECORD = HOME / "aws-smoke.json"
PROVEN, FAILED, LEFT, STOPPED = 0, 1, 2, 130
# The cheapest type that trains and serves and has a price in the price book.
_INSTANCE_TYPE = "ml.c7i.large"


def main() -> int:
    """Parse the command line, prove, and print errors that a user can mend as sentences."""
    parser = argparse.ArgumentParser(prog="python -m proofs.aws_smoke", description="Prove Kennel on an AWS account.")
    parser.add_argument("--yes", action="store_true", help="do not ask before spending money")
    parser.add_argument("--keep", action="store_true", help="keep the stack and the endpoint for a closer look")
    parser.add_argument("--laptop", action="store_true", help="use a separate laptop cloud instead of an account")
    for purpose in ("training", "serving"):
        parser.add_argument(f"--{purpose}-instance-type", default=_INSTANCE_TYPE, metavar="TYPE")
    options = vars(parser.parse_args())
    _handle_signals(signal.default_int_handler)  # SIGTERM and a closed terminal stop the program as Ctrl-C does.
    try:
        keep_private()
        if options.pop("laptop"):
            with _laptop_cloud():
                return smoke(Options(**options))
        return smoke(Options(**options))
    except (LocalError, ClientError, BotoCoreError, OSError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return STOPPED


def smoke(options: Options) -> int:
    """Prove everything, clean up, and return the exit code."""
    account = find_account()
    # The name of the stack and the endpoint. No other resource has or contains it.
    name = f"kennelsmoke{secrets.token_hex(3)}"
    _announce(account, name, options)
    if not options.yes and not _is_confirmed():
        raise LocalError("nothing was done")
    table, code = ResultTable(), PROVEN
    try:
        prove(account, name, options, table)
    except KeyboardInterrupt:
        _handle_signals(signal.SIG_IGN)  # A second Ctrl-C must not leave resources that cost money.
        say("\nstopping …")
        code = STOPPED
    except Exception as error:  # The stack must be deleted after every error.
        _explain(error)
        code = FAILED
    left: list[str] = []
    if options.keep:
        say(f"\nThe stack {name} is kept and costs money. These commands delete it:")
        say_exactly(commands_to_delete(account, name))
    else:
        left = _clean_up(account, name, table)
        code = LEFT if left else code
    write_json(
        RECORD,
        {
            "stack": name,
            "account": asdict(account),
            "exit_code": code,
            "left": left,
            "rows": list(map(asdict, table.rows)),
        },
    )
    table.print()
    say(f"\nThe record is {os.path.relpath(RECORD)}")
    return code


def _announce(account: Account, name: str, options: Options) -> None:
    address = f" at {account.url}" if account.url else ""
    say(f"Account {account.number}, region {account.region}, as {account.who}{address}")
    say(
        f"The stack {name} is deployed, trains on {COUNTS['train'] * 10} drawings, serves and answers requests. "
        "Then it is torn down and deleted. On AWS this takes about 45 minutes. The list prices of "
        f"{account.region} are:"
    )
    parts = quote(options.training_instance_type, options.serving_instance_type, account.region)
    total = "in total, and what is unknown besides" if None in parts.values() else "in total"
    rows = [("unknown" if dollars is None else f"${dollars:.2f}", part) for part, dollars in parts.items()]
    show(columns([*rows, (f"${sum(filter(None, parts.values())):.2f}", total)], right=(0,)))


def _is_confirmed() -> bool:
    try:
        return input("Continue? Only yes continues: ").strip() == "yes"
    except EOFError:
        raise LocalError(
            "nothing was done: there is no terminal to confirm on; pass --yes (make aws-smoke YES=1)"
        ) from None


def _clean_up(account: Account, name: str, table: ResultTable) -> list[str]:
    """Delete everything and return what is left; if it fails, say how to delete the rest by hand."""
    _handle_signals(signal.SIG_IGN)
    try:
        left = clean_up(account, name, table)
    except Exception as error:
        _explain(error)
        left = [f"stack {name}"]
    if left:
        say("\nNot everything could be deleted, and the rest may cost money. These commands delete it:")
        say_exactly(commands_to_delete(account, name))
    return left


def _handle_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _explain(error: Exception) -> None:
    if isinstance(error, LocalError | ClientError | BotoCoreError | OSError):
        print(f"\n{error}", file=sys.stderr)
    else:  # This is a mistake in Kennel, so its traceback is needed.
        traceback.print_exception(error)


@contextmanager
def _laptop_cloud() -> Iterator[None]:
    """Start a laptop cloud on a free port, and point this process's environment to it until the block ends."""
    before = dict(os.environ)
    port, log = free_port(), FOLDER / "cloud.log"
    process = laptop.spawn(port, FOLDER / "cloud", log)
    try:
        environment = laptop.await_ready(process, port, log, FOLDER / "cloud").environment()
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        laptop.end(process)


if __name__ == "__main__":
    sys.exit(main())
