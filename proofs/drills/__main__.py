"""``python -m local drill`` in a process of its own, whose home and settings are the drill's."""

import argparse
import contextlib
import json
import signal
import sys

from botocore.exceptions import BotoCoreError, ClientError

from dataset import DatasetError
from local import laptop
from local.home import LocalError
from proofs.drills import deployment, fuzz, runs, spike
from proofs.drills.report import Report
from proofs.drills.stage import set_up

DRILLS = {
    "spike": spike.spike,
    "update": deployment.update,
    "kill-instance": deployment.kill_instance,
    "bad-smoke": runs.bad_smoke,
    "double-start": runs.double_start,
    "fuzz-api": fuzz.fuzz_api,
    "teardown": runs.teardown,  # last: nothing is left to drill on
}


def main() -> int:
    """Drill one thing or several; 0 when every promise held, 1 when one did not."""
    parser = argparse.ArgumentParser(prog="python -m local drill")
    parser.add_argument("names", nargs="+", choices=DRILLS)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports = []
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the document's
            stage = set_up(options.port)
            for name in sorted(options.names, key=list(DRILLS).index):
                reports.append(Report(name))
                DRILLS[name](stage, reports[-1])
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        if reports:
            reports[-1].promise(f"the drill comes to its end: {error}", False)
        else:
            print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        return 130
    finally:
        laptop.stop()
    documents = [report.document() for report in reports]
    print(json.dumps(documents[0] if len(options.names) == 1 and documents else documents, indent=1))
    return 0 if len(reports) == len(options.names) and all(report.held for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
