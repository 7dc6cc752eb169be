"""Kennel on a laptop: the same template and state machine as on AWS, run by processes of this machine."""

import argparse
import json
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dataset import DatasetError
from dataset.names import printable
from dataset.reading import shares_of
from local import alarms, interrupt, invoke, laptop, notebook, run, shell, stack, trace
from local.api import Api, ApiAnswer
from local.console import say, say_exactly
from local.dashboard import watch
from local.home import HOME, LocalError, file_error, keep_private

# Each is played by a function of this name in a module of proofs/drills/. They are played in this order; teardown is
# late, because it deletes the endpoint, and ec2-leak is last, because it kills the cloud.
DRILLS = (
    *("spike", "update", "kill-instance", "bad-smoke", "double-start", "fuzz-api", "blockade", "tamper"),
    *("overspend", "change-hosting", "stop-anywhere", "teardown", "ec2-leak"),
)
# What the AWS CLI, boto3 and SAM need; the last two only where the user's shell names a proxy.
_EXPORTS = (
    *("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"),
    "AWS_DISABLE_HOST_PREFIX_INJECTION",
    *("NO_PROXY", "no_proxy"),
)


def main() -> int:
    """Run one command; print a sentence instead of a traceback for a user's mistake."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops a run as Ctrl-C does.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # So does a closed terminal, but under nohup the run goes on.
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        keep_private()
        return int(arguments.do(arguments))
    except KeyboardInterrupt:
        return run.STOPPED
    except Exception as error:
        print(printable(words_of(error), keep="\n"), file=sys.stderr)
        return 1


def words_of(error: Exception) -> str:
    """Return what the user reads of an error; the traceback of one that nobody foresaw goes to a file."""
    if isinstance(error, LocalError | DatasetError):
        return str(error)
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        answer = f"{said.get('Code')}: {said.get('Message')}"
        return f"the laptop cloud refused {error.operation_name} ({answer}); its log is {HOME / 'cloud.log'}"
    if isinstance(error, BotoCoreError):
        return f"the laptop cloud does not answer; `make run` or `make up` starts it, its log is {HOME / 'cloud.log'}"
    if isinstance(error, OSError):
        return file_error(error)
    file = HOME / "error.log"
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)))
    return f"this program has a fault ({type(error).__name__}); please report it with the file {file}"


def _run(arguments: argparse.Namespace) -> int:
    return run.run(arguments.data, arguments.event, arguments.port, arguments.model, arguments.split, arguments.leaks)


def _promote(arguments: argparse.Namespace) -> int:
    return run.promote(run.running(), arguments.version)


def _drill(arguments: argparse.Namespace) -> int:
    """Run drills in another process, with files of their own and a cloud with slow instances and a fast clock."""
    settings = {
        "KENNEL_HOME": str(HOME / "drill"),
        "KENNEL_THROTTLE": f"{arguments.throttle:g}",
        "KENNEL_TIME_SCALE": f"{arguments.speed:g}",
        "KENNEL_STOPS": "1",
    }
    shell.start(["-m", "proofs.drills", *arguments.names, "--port", str(arguments.port)], settings)


def _proof(arguments: argparse.Namespace) -> int:
    """Run the proof in another process, with files of its own and a cloud with a fast clock."""
    settings = {"KENNEL_HOME": str(HOME / "proof"), "KENNEL_TIME_SCALE": "20", "KENNEL_STOPS": "1"}
    options = {"--port": arguments.port, "--mutants": arguments.mutants, "--seed": arguments.seed}
    shell.start(["-m", "proofs.rights", *(str(part) for pair in options.items() for part in pair)], settings)


def _capstone(arguments: argparse.Namespace) -> int:
    """Collect the evidence in another process, on the laptop cloud that runs."""
    options = [part for row in arguments.only for part in ("--only", row)] + ["--anew"] * arguments.anew
    shell.start(["-m", "proofs.capstone", "--port", str(arguments.port), *options], {})


def _up(arguments: argparse.Namespace) -> int:
    cloud, deployed = run.up(arguments.port)
    say("\nFor the AWS CLI, boto3 and SAM:")
    say_exactly("  unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN")
    for name in _EXPORTS[: None if shell.has_proxy() else -2]:
        say_exactly(f"  export {name}={cloud.environment()[name]}")
    say_exactly(f"\nState machine  {deployed.pipeline_arn}\nBucket         {deployed.bucket}")
    say_exactly(
        f"API            {deployed.api_url}\nPage           {deployed.page_url}\nAPI key        {deployed.api_key}"
    )
    say("Stop everything with make down")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    say("the laptop cloud is down" if laptop.stop() else "no laptop cloud was running")
    return 0


def _classify(arguments: argparse.Namespace) -> int:
    deployed = stack.describe(run.running())
    failed = 0
    for answer in Api(deployed.api_url, deployed.api_key).classify_files(arguments.files):
        failed += not answer.ok
        print(json.dumps(_line(answer)) if arguments.json else printable(_sentence(answer)), flush=True)
    return 1 if failed else 0


def _invoke(arguments: argparse.Namespace) -> int:
    return invoke.invoke(run.running(), arguments.event, arguments.options)


def _notebook(arguments: argparse.Namespace) -> int:
    return notebook.open_notebook(run.running(), arguments.run)


def _dashboard(arguments: argparse.Namespace) -> int:
    if arguments.drill:
        options = ["--minutes", f"{arguments.minutes:g}", *(["--once"] if arguments.once else [])]
        options += ["--html", arguments.html] if arguments.html else []
        shell.start(["-m", "local", "dashboard", *options], {"KENNEL_HOME": str(HOME / "drill")})
    html = Path(arguments.html) if arguments.html else None
    return watch.watch(run.running(), arguments.minutes, html, arguments.once)


def _interrupt(arguments: argparse.Namespace) -> int:
    interrupt.interrupt(run.running(), arguments.job, arguments.host)
    return 0


def _trace(arguments: argparse.Namespace) -> int:
    return trace.trace(run.running(), arguments.request, arguments.hours, arguments.json)


def _alarm_test(arguments: argparse.Namespace) -> int:
    return alarms.ring(run.running(), arguments.names, arguments.wait)


def _line(answer: ApiAnswer) -> dict[str, object]:
    named = {"correlation_id": answer.correlation_id} if answer.correlation_id else {}
    if not answer.ok:
        return {"file": answer.file, "status": answer.status, "error": answer.problem, **named}
    keys = ("breed", "probability", "is_dog", "top")
    return {"file": answer.file, **{key: answer.document[key] for key in keys}, **named}


def _sentence(answer: ApiAnswer) -> str:
    if not answer.ok:
        return f"{answer.file}: {answer.problem}"
    prediction = answer.document
    others = ", ".join(f"{item['breed']} {item['probability']:.0%}" for item in prediction["top"][1:3])
    doubt = "" if prediction["is_dog"] else "probably not a dog; as a dog: "
    return f"{answer.file}: {doubt}{prediction['breed']} {prediction['probability']:.0%} (then {others})"


def _split(text: str) -> str:
    try:
        shares_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _add_run(commands: Any) -> None:
    command = commands.add_parser("run", help="photos to endpoint: deploy, train, evaluate, promote, ask")
    command.add_argument("--data", metavar="PATH", help="folder or archive of photos (default: the sketchbook)")
    command.add_argument(
        "--split",
        metavar="80/10/10",
        type=_split,
        help="percent of train, valid and test of photos that have no splits (default: 80/10/10)",
    )
    command.add_argument(
        "--leaks",
        type=str.lower,
        choices=("refuse", "drop"),
        help="photos that stand in two splits: refuse them, or drop them from valid/ and test/ (default: refuse)",
    )
    command.add_argument(
        "--event",
        metavar="FILE",
        help="the execution's input, see events/; pipeline-anew.json trains again (default: {})",
    )
    command.add_argument("--model", metavar="FILE", help="a model that was trained elsewhere, for the event's backbone")
    _add_port(command)
    command.set_defaults(do=_run)


def _add_dashboard(commands: Any) -> None:
    command = commands.add_parser(
        "dashboard", help="show the stack's CloudWatch dashboard with live figures, until Ctrl-C"
    )
    command.add_argument("--once", action="store_true", help="look once; so it does without a terminal, too")
    command.add_argument("--html", metavar="FILE", help="write it as one page as well, renewed while this command runs")
    command.add_argument(
        "--minutes", type=_minutes, default=30, help="how far it looks back, by the cloud's clock (%(default)s)"
    )
    command.add_argument("--drill", action="store_true", help="look at the laptop cloud of a drill that is running")
    command.set_defaults(do=_dashboard)


def _add_capstone(commands: Any) -> None:
    command = commands.add_parser(
        "capstone",
        help="do all that the course's project asks for, judge the evidence, and write one page (20 minutes)",
        description="Do each thing that the course's project asks for (docs/capstone.md), on the laptop cloud that is "
        "running or on a new one, and write .kennel/capstone.html. A second call goes on where the first one ended: it "
        "repeats what is missing, red, or older than what it depends on.",
    )
    command.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="this row, such as training; may be repeated"
    )
    command.add_argument("--anew", action="store_true", help="collect again what is green, too")
    _add_port(command)
    command.set_defaults(do=_capstone)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_run(commands)
    command = commands.add_parser("promote", help="let a version that served before serve again, without training")
    command.add_argument("--version", type=_version, required=True, help="number of its model package; 1 is the first")
    command.set_defaults(do=_promote)

    command = commands.add_parser("up", help="start the laptop cloud and deploy, without a run")
    _add_port(command)
    command.set_defaults(do=_up)

    command = commands.add_parser("down", help="stop the laptop cloud and everything on it")
    command.set_defaults(do=_down)

    command = commands.add_parser("classify", help="ask the prediction API about photos")
    command.add_argument("files", nargs="+", metavar="FILE", help="JPEG, PNG or WebP")
    command.add_argument("--json", action="store_true", help="print one line of JSON per file")
    command.set_defaults(do=_classify)

    command = commands.add_parser("trace", help="follow one request through the logs: its steps, attempts and versions")
    command.add_argument(
        "request",
        metavar="ID",
        help="correlation id, trace id or traceparent, or a file with an answer, such as curl --include writes",
    )
    command.add_argument("--json", action="store_true", help="print one document")
    command.add_argument(
        "--hours", type=_hours, default=trace.HOURS, help="up to how many hours ago to search (%(default)g)"
    )
    command.set_defaults(do=_trace)
    _add_dashboard(commands)

    command = commands.add_parser("invoke", help="run one function by itself with sam local invoke (needs Docker)")
    command.add_argument("event", choices=invoke.SAMPLES, help="its sample event")
    command.add_argument("options", nargs=argparse.REMAINDER, help="more for sam local invoke")
    command.set_defaults(do=_invoke)

    command = commands.add_parser("notebook", help="open examples/kennel.ipynb in Jupyter Lab, on the laptop cloud")
    command.add_argument("--run", action="store_true", help="run all its cells without a browser")
    command.set_defaults(do=_notebook)

    command = commands.add_parser(
        "drill", help="show that a promise about the endpoint holds, on a separate laptop cloud; prints JSON"
    )
    command.add_argument("names", nargs="+", metavar="NAME", choices=DRILLS, help=", ".join(DRILLS))
    command.add_argument(
        "--throttle", type=float, default=15, help="requests/s that an instance can answer (%(default)s)"
    )
    command.add_argument(
        "--speed",
        type=float,
        default=10,
        help="speed of the cloud's clock (%(default)s times real)",
    )
    _add_port(command, "port of that cloud", laptop.DEFAULT_PORT + 10)
    command.set_defaults(do=_drill)

    _add_capstone(commands)

    command = commands.add_parser(
        "proof",
        help="show that the template grants what is needed and no more, on a separate laptop cloud",
    )
    command.add_argument(
        "--mutants", type=int, default=5, help="number of changed templates that are run (%(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, help="random seed by which they are chosen (%(default)s)")
    _add_port(command, "port of that cloud", laptop.DEFAULT_PORT + 20)
    command.set_defaults(do=_proof)

    command = commands.add_parser("interrupt", help="take a spot training job's instances away, as AWS may")
    command.add_argument("job", nargs="?", metavar="JOB", help="the job's name (default: the one that is running)")
    command.add_argument("--host", help="the instance that is lost first (default: the last one, such as algo-2)")
    command.set_defaults(do=_interrupt)

    _add_alarm_test(commands)
    return parser


def _add_alarm_test(commands: Any) -> None:
    command = commands.add_parser(
        "alarm-test",
        help="ring each alarm of the stack once, and show that a subscriber of its topic hears it",
        description=(
            "Ring each alarm of the stack once, as aws cloudwatch set-alarm-state does, and show that a subscriber of "
            "its topic hears it. Afterwards each alarm has the state that it had. Refused while a run is at work, "
            "because two of the alarms take updates back. Exits with 1 when an alarm was not heard."
        ),
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="such as latency (default: all)")
    command.add_argument(
        "--wait",
        type=_seconds,
        default=alarms.HEARD_WITHIN,
        metavar="SECONDS",
        help="how long an alarm may take to be heard (%(default)g)",
    )
    command.set_defaults(do=_alarm_test)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' must be seconds between 0 and 3600, such as 10")
    return number


def _version(text: str) -> int:
    if not text.isdecimal() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be the number of a version, such as 1")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= 87_600:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number of hours above 0, such as 24")
    return hours


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 1 <= minutes <= 1440:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number of minutes from 1 to 1440, a day")
    return minutes


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 9 else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1 to 65535, such as 4566")
    return number


def _add_port(
    command: argparse.ArgumentParser, what: str = "port of the laptop cloud", default: int = laptop.DEFAULT_PORT
) -> None:
    command.add_argument("--port", type=_port, default=default, help=f"{what} (%(default)s)")
