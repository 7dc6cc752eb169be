"""The process behind ``python -m local drill``, which has its own home folder and settings."""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from typing import cast

from botocore.exceptions import BotoCoreError, ClientError

from dataset import DatasetError
from local import cli, laptop, shell
from local.home import LocalError
from proofs.drills import blockade, deployment, ec2, fuzz, hosting, overspend, runs, spike, stopping, tampering
from proofs.drills.drill_cloud import DrillCloud, set_up
from proofs.promises import Report


def _function(drill: str) -> Callable[[DrillCloud, Report], None]:
    name = drill.replace("-", "_")
    modules = (blockade, deployment, ec2, fuzz, hosting, overspend, runs, spike, stopping, tampering)
    (function,) = (getattr(module, name) for module in modules if hasattr(module, name))
    return cast("Callable[[DrillCloud, Report], None]", function)


DRILLS = {drill: _function(drill) for drill in cli.DRILLS}


def main() -> int:
    """Run one drill or several, and return 0 if every promise held, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m local drill")
    parser.add_argument("names", nargs="+", choices=DRILLS)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports = []
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Standard output receives only the JSON document.
            cloud = set_up(options.port)
            for name in sorted(options.names, key=list(DRILLS).index):
                reports.append(Report(name))
                DRILLS[name](cloud, reports[-1])
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        if reports:
            reports[-1].promise(f"the drill finishes: {cli.words_of(error)}", False)
        else:
            print(cli.words_of(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        return 130
    finally:
        laptop.stop()
    documents = [report.document() for report in reports]
    print(json.dumps(documents[0] if len(options.names) == 1 and documents else documents, indent=1))
    return 0 if len(reports) == len(options.names) and all(report.held for report in reports) else 1


if __name__ == "__main__":
    shell.leave()
    sys.exit(main())
