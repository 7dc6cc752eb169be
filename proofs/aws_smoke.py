"""Kennel proven on an AWS account, from deployment to deletion.

    python -m proofs.aws_smoke [--yes] [--keep] [--laptop]

It deploys a stack of its own under a name that nothing else bears, trains on a few drawings, deploys, asks the
API, tears everything down and looks whether anything is left. Where it works is what boto3 and SAM find in the
environment: an account, or what ``AWS_ENDPOINT_URL`` names. ``--laptop`` starts a laptop cloud for it.
Whatever happens, also on Ctrl-C, it takes its stack away, or says what it could not take away.
"""

import argparse
import json
import os
import re
import runpy
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from cloud.core.processes import free_port
from dataset import breed_name
from local import data, laptop, report, stack
from local.api import CONTENT_TYPES, Api
from local.console import columns, say, show
from local.data import Data
from local.follow import follow
from local.home import HOME, ROOT, LocalError, write_json
from local.stack import Stack
from sketchbook import write as draw_sketches

RECORD = HOME / "aws-smoke.json"
PROVEN, FAILED, LEFT, STOPPED = 0, 1, 2, 130
_HOME = HOME / "aws-smoke"
_COUNTS = {"train": 12, "valid": 5, "test": 5}  # drawings of each of ten breeds
_SIZE = 160  # their side in pixels
_INSTANCE_TYPE = "ml.c7i.large"  # the cheapest with a price in functions/shared/prices.py that trains and serves
_INSTANCES = 2
# Minutes that the figures of the quote assume, generous; CodeBuild's price is that of general1.medium on Linux.
_MINUTES = {"training": 10, "evaluation": 10, "endpoints": 30, "images": 15}
_BUILD_PER_MINUTE = 0.01
_SMALL_CHANGE = 0.05  # S3, Lambda, Step Functions, API Gateway, KMS, ECR and logs of an hour
_RUNTIMES = ("python3.13", "python3.12", "python3.14")  # what Lambda takes and the template allows, best first
# The functions' modules are not on our path.
_per_hour: Callable[[str, int], float | None] = runpy.run_path(str(ROOT / "functions/shared/prices.py"))["per_hour"]
_TEARDOWN_TRIES = 3
_TEARDOWN_SECONDS = 3 * 3600
_SETTLE_SECONDS = 1800
_LOOKS = 20  # AWS's lists go on naming what was just deleted for a while
_BROKEN = '{"StartAt": "Here", "States": {"Here": {"Type": "Pass", "Next": "Nowhere"}}}'

# What a stack and its runs make, and how to list it: service, operation, arguments, where the names are.
_LISTS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("s3", "list_buckets", {}, "Buckets[].Name"),
    ("ecr", "describe_repositories", {}, "repositories[].repositoryName"),
    ("sagemaker", "list_endpoints", {}, "Endpoints[].EndpointName"),
    ("sagemaker", "list_endpoint_configs", {}, "EndpointConfigs[].EndpointConfigName"),
    ("sagemaker", "list_models", {}, "Models[].ModelName"),
    ("sagemaker", "list_model_package_groups", {}, "ModelPackageGroupSummaryList[].ModelPackageGroupName"),
    (
        "application-autoscaling",
        "describe_scalable_targets",
        {"ServiceNamespace": "sagemaker"},
        "ScalableTargets[].ResourceId",
    ),
    ("cloudwatch", "describe_alarms", {}, "MetricAlarms[].AlarmName"),
    ("ssm", "describe_parameters", {}, "Parameters[].Name"),
    ("sns", "list_topics", {}, "Topics[].TopicArn"),
    ("events", "list_rules", {}, "Rules[].Name"),
    ("scheduler", "list_schedules", {}, "Schedules[].GroupName"),
    ("scheduler", "list_schedule_groups", {}, "ScheduleGroups[].Name"),
    ("stepfunctions", "list_state_machines", {}, "stateMachines[].name"),
    ("lambda", "list_functions", {}, "Functions[].FunctionName"),
    ("lambda", "list_layers", {}, "Layers[].LayerName"),
    ("apigateway", "get_rest_apis", {}, "items[].name"),
    ("apigateway", "get_api_keys", {}, "items[].name"),
    ("apigateway", "get_usage_plans", {}, "items[].name"),
    ("codebuild", "list_projects", {}, "projects[]"),
    ("logs", "describe_log_groups", {}, "logGroups[].logGroupName"),
    ("iam", "list_roles", {}, "Roles[].RoleName"),
    ("iam", "list_policies", {"Scope": "Local"}, "Policies[].PolicyName"),
)


class NotCheckedError(Exception):
    """A proof cannot be had here; the message says why."""


@dataclass(frozen=True)
class Account:
    """The account and region that boto3 finds in the environment."""

    region: str
    number: str
    who: str
    url: str

    def client(self, service: str) -> Any:
        """A boto3 client."""
        make: Any = boto3.client  # its stubs want the service as a literal
        return make(service, region_name=self.region)

    @property
    def pause(self) -> float:
        """Seconds between two looks at something that takes its time."""
        return 0.3 if self.url else 5.0


@dataclass
class Row:
    """One line of the table: ``result`` is proven, failed or not checked here."""

    what: str
    result: str
    seconds: float
    detail: str


@dataclass
class Table:
    """What was proven, in order."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def row(self, what: str) -> Iterator[Row]:
        """Time a step; what it raises makes it failed and goes on, but for NotCheckedError."""
        row = Row(what, "proven", 0.0, "")
        started = time.monotonic()
        say(f"{what} …")
        try:
            yield row
        except NotCheckedError as reason:
            row.result, row.detail = "not checked here", str(reason).rstrip(" :")
        except BaseException as error:
            row.result, row.detail = "failed", str(error).splitlines()[0] if str(error) else type(error).__name__
            raise
        finally:
            row.seconds = round(time.monotonic() - started, 1)
            self.rows.append(row)
            say(f"  {row.result} after {row.seconds:.1f} s{f': {row.detail}' if row.detail else ''}")

    def show(self) -> None:
        """Print it."""
        say()
        show(columns([(r.result, f"{r.seconds:.1f} s", r.what, r.detail) for r in self.rows], right=(1,)), indent=0)


@dataclass(frozen=True)
class Options:
    """What the command line decided."""

    yes: bool
    keep: bool
    training_instance_type: str
    serving_instance_type: str


def main() -> int:
    """Parse, prove, and turn what a user can mend into sentences."""
    parser = argparse.ArgumentParser(prog="python -m proofs.aws_smoke", description="Prove Kennel on an AWS account.")
    parser.add_argument("--yes", action="store_true", help="do not ask before spending money")
    parser.add_argument("--keep", action="store_true", help="leave the stack and what serves for a closer look")
    parser.add_argument("--laptop", action="store_true", help="on a laptop cloud of its own instead of an account")
    for purpose in ("training", "serving"):
        parser.add_argument(f"--{purpose}-instance-type", default=_INSTANCE_TYPE, metavar="TYPE")
    options = vars(parser.parse_args())
    _on_signals(signal.default_int_handler)  # ended politely, or with its terminal, is stopped like Ctrl-C
    try:
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
    """Prove it all, tear it down, and return the exit code."""
    account = _account()
    name = f"kennelsmoke{secrets.token_hex(3)}"  # stack and endpoint; nothing else bears or contains it
    _announce(account, name, options)
    if not options.yes and not _agreed():
        raise LocalError("nothing was done")
    table, code = Table(), PROVEN
    try:
        _prove(account, name, options, table)
    except KeyboardInterrupt:
        _on_signals(signal.SIG_IGN)  # once is enough; leaving now would leave what costs money
        print("\nstopping …", flush=True)
        code = STOPPED
    except Exception as error:  # whatever it is, the stack must go
        _explain(error)
        code = FAILED
    left: list[str] = []
    if options.keep:
        print(f"\nThe stack {name} is kept and costs money. To take it away:\n{_by_hand(account, name)}")
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
    table.show()
    print(f"\nthe record is {os.path.relpath(RECORD)}")
    return code


def _agreed() -> bool:
    try:
        return input("Go on? Only yes goes on: ").strip() == "yes"
    except EOFError:
        raise LocalError(
            "nothing was done, for nobody is there to ask; --yes (make aws-smoke YES=1) asks not"
        ) from None


def _on_signals(what: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, what)


def _explain(error: Exception) -> None:
    if isinstance(error, LocalError | ClientError | BotoCoreError | OSError):
        print(f"\n{error}", file=sys.stderr)
    else:  # a mistake of ours
        traceback.print_exception(error)


# --- before money is spent --------------------------------------------------------------------------


def _account() -> Account:
    session = boto3.Session()
    if session.region_name is None:
        raise LocalError("no region is set; export AWS_DEFAULT_REGION, or choose one by aws configure")
    caller = session.client("sts").get_caller_identity()
    return Account(session.region_name, caller["Account"], caller["Arn"], os.environ.get("AWS_ENDPOINT_URL", ""))


def quote(training_type: str, serving_type: str) -> dict[str, float | None]:
    """Dollars by list prices for each thing that costs more than small change; None where no price is known."""

    def for_minutes(instance_type: str, count: int, minutes: int) -> float | None:
        price = _per_hour(instance_type, count)
        return None if price is None else price * minutes / 60

    return {
        f"training, {_INSTANCES} x {training_type}, {_MINUTES['training']} min": for_minutes(
            training_type, _INSTANCES, _MINUTES["training"]
        ),
        f"evaluation, {serving_type}, {_MINUTES['evaluation']} min": for_minutes(
            serving_type, 1, _MINUTES["evaluation"]
        ),
        f"staging, then production, {serving_type}, {_MINUTES['endpoints']} min": for_minutes(
            serving_type, 1, _MINUTES["endpoints"]
        ),
        f"building the images, CodeBuild, {_MINUTES['images']} min": _BUILD_PER_MINUTE * _MINUTES["images"],
        "everything else, estimated": _SMALL_CHANGE,
    }


def _announce(account: Account, name: str, options: Options) -> None:
    where = f" at {account.url}" if account.url else ""
    print(f"Account {account.number}, region {account.region}, as {account.who}{where}")
    print(f"A stack {name} is deployed, trains on {_COUNTS['train'] * 10} drawings and serves; it is asked, torn down")
    print("and deleted again, in about 45 minutes on AWS. By the list prices of us-east-1 that costs there")
    parts = quote(options.training_instance_type, options.serving_instance_type)
    for part, dollars in parts.items():
        print(f"  {part:<64} {'unknown' if dollars is None else f'${dollars:.2f}':>8}")
    print(f"  {'together':<64} {'$' + format(sum(filter(None, parts.values())), '.2f'):>8}")


# --- the proofs -------------------------------------------------------------------------------------


def _prove(account: Account, name: str, options: Options, table: Table) -> None:
    with table.row("both definitions pass Step Functions' validator"):
        _validate(account)
    with table.row("the account's quotas let the jobs and the endpoint run") as row:
        row.detail = _check_quotas(account, options)
    with table.row("the stack is built and deployed"):
        _deploy(account, name, options)
    deployed = stack.describe(account, name)
    with table.row("a dataset is uploaded") as row:
        photos = _draw()
        data.upload(account, deployed.bucket, photos)
        row.detail = ", ".join(f"{number} {split}" for split, number in photos.listing.counts().items())
    with table.row("a run is promoted") as row:
        scores = _run(account, deployed, photos, name)
        row.detail = f"top-1 {scores['top1']:.1%} on {scores['num_photos']} test photos"
    with table.row("the API answers as the model was evaluated") as row:
        row.detail = _ask(deployed, photos, scores["top1"])
    with table.row("the API refuses a wrong key and what is no photo") as row:
        row.detail = _ask_wrongly(deployed)


def _validate(account: Account) -> None:
    states = account.client("stepfunctions")

    def verdict(definition: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = states.validate_state_machine_definition(definition=definition, severity="ERROR")
        except ClientError as error:
            raise NotCheckedError(str(error)) from error
        return found

    if verdict(_BROKEN)["result"] == "OK":
        raise NotCheckedError("the validator here finds nothing wrong with a definition that leads nowhere")
    for path in sorted((ROOT / "statemachine").glob("*.asl.yaml")):
        # A substitution's own name stands for its value; where an ARN belongs, an ARN of that name.
        text = re.sub(r"\$\{(\w+?)(Arn)?\}", _sample, json.dumps(yaml.safe_load(path.read_text())))
        if (said := verdict(text))["result"] != "OK":
            faults = "; ".join(f"{fault.get('location', '')}: {fault['message']}" for fault in said["diagnostics"])
            raise LocalError(f"{path.name}: {faults}")


def _sample(match: re.Match[str]) -> str:
    return f"arn:aws:lambda:us-east-1:123456789012:function:{match[1]}" if match[2] else match[1]


def _check_quotas(account: Account, options: Options) -> str:
    wanted = {
        f"{options.training_instance_type} for training job usage": _INSTANCES,
        f"{options.serving_instance_type} for processing job usage": 1,
        f"{options.serving_instance_type} for endpoint usage": 2,  # staging may still be going when production comes
    }
    pages = account.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    try:
        found = {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    except (ClientError, BotoCoreError) as error:
        raise NotCheckedError(str(error)) from error
    if missing := wanted.keys() - found.keys():
        raise NotCheckedError(f"Service Quotas does not list {', '.join(sorted(missing))}")
    for quota, number in wanted.items():
        if found[quota] < number:
            raise LocalError(
                f"the quota '{quota}' is {found[quota]:.0f} and {number} are needed; ask for more in Service Quotas "
                "(SageMaker), or choose another type with --training-instance-type or --serving-instance-type"
            )
    return ", ".join(f"{found[quota]:.0f} {quota}" for quota in wanted)


def _deploy(account: Account, name: str, options: Options) -> None:
    parameters = {
        "EndpointName": name,
        "TrainingInstanceType": options.training_instance_type,
        "TrainingInstanceCount": str(_INSTANCES),
        "ServingInstanceType": options.serving_instance_type,
        "LogRetentionDays": "1",
        "PythonRuntime": _runtime(account),
    }
    overrides = ("--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items()))
    build = _HOME / "build"
    _sam(account, "build", "--build-dir", str(build), *overrides)
    _sam(
        account,
        "deploy",
        *("--stack-name", name, "--template-file", str(build / "template.yaml")),
        # Artifacts are named by content: without a prefix, deleting this stack would delete another's.
        *("--s3-prefix", name, "--no-confirm-changeset", *overrides),
    )


def _runtime(account: Account) -> str:
    if account.url:  # the laptop cloud runs functions on this very interpreter
        return f"python{sys.version_info.major}.{sys.version_info.minor}"
    for runtime in _RUNTIMES:
        if shutil.which(runtime):
            return runtime
    raise LocalError(f"sam build needs one of {', '.join(_RUNTIMES)} on the PATH")


def _sam(account: Account, command: str, *arguments: str) -> None:
    log = _HOME / f"sam-{command}.log"
    environment = {**os.environ, "AWS_DEFAULT_REGION": account.region}
    # without it, deploy would look for the configuration beside the built template
    config = ("--config-file", str(ROOT / "samconfig.toml"))
    stack.finish(stack.sam(command, *config, *arguments, env=environment, log=log), log)


def _draw() -> Data:
    folder = _HOME / "sketches"
    if not folder.exists():
        draw_sketches(folder, counts=_COUNTS, size=_SIZE)
    return data.prepare(Path(shutil.make_archive(str(folder), "zip", folder)))


def _run(account: Account, deployed: Stack, photos: Data, name: str) -> dict[str, Any]:
    started = account.client("stepfunctions").start_execution(
        stateMachineArn=deployed.pipeline_arn, input=json.dumps({"dataset": photos.key})
    )
    outcome = follow(account, started["executionArn"], jobs=f"{name}-", poll_seconds=account.pause)
    if outcome.status != "SUCCEEDED":
        raise LocalError(f"the run ended {outcome.status}: {outcome.error}: {outcome.cause}")
    if outcome.output["status"] != "promoted":
        raise LocalError(f"the gate refused: {outcome.output['verdict']['reason']}")
    found = report.evaluation(account, outcome.output["run"]["evaluation"]["report_uri"])
    scores: dict[str, Any] = found["challenger"]
    return scores


def _ask(deployed: Stack, photos: Data, top1: float) -> str:
    api = Api(deployed.api_url, deployed.api_key)
    asked = list(photos.listing.of("test"))
    right = 0
    for photo in asked:
        answer = api.classify(photos.source.read(photo), CONTENT_TYPES[Path(photo.path).suffix.lower()], photo.path)
        if not answer.ok:
            raise LocalError(f"{photo.path}: {answer.status}: {answer.problem}")
        right += answer.document["breed"] == breed_name(photo.label)
    if abs(right - top1 * len(asked)) > 1:  # one photo may lie on the edge between two breeds
        raise LocalError(f"the API names {right} of {len(asked)} rightly, the evaluation had {top1:.1%}")
    return f"{right} of {len(asked)} named rightly, the evaluation said {top1:.1%}"


def _ask_wrongly(deployed: Stack) -> str:
    stranger = Api(deployed.api_url, "no-such-key").classify(b"x", "image/jpeg")
    words = Api(deployed.api_url, deployed.api_key).classify(b"no photo", "image/jpeg")
    if stranger.status != 403:
        raise LocalError(f"a wrong key was answered with {stranger.status} instead of 403")
    if not 400 <= words.status < 500:
        raise LocalError(f"what is no photo was answered with {words.status}: {words.problem}")
    return f"403; {words.status}: {words.problem}"


# --- taking it away ---------------------------------------------------------------------------------


def _clean_up(account: Account, name: str, table: Table) -> list[str]:
    """Delete the stack and what its runs made.

    What stays by nature: records and log streams of two jobs, the key until its waiting time is over, and
    SAM's own bucket, which all SAM applications of the region share.

    Returns:
        What is left besides, empty when nothing is.
    """
    _on_signals(signal.SIG_IGN)
    key = ""
    try:
        if found := _settled(account, name):
            key = _physical_id(account, name, "Key")
            if found.get("Outputs"):  # else it was never whole, and nothing ran
                _stop_runs(account, stack.describe(account, name))
                with table.row("teardown of everything succeeds") as row:
                    row.detail = _tear_down(account, stack.describe(account, name))
            with table.row("sam delete succeeds"):
                _sam(account, "delete", "--stack-name", name, "--region", account.region, "--no-prompts")
            _delete_endpoint_logs(account, name)
        with table.row("nothing is left") as row:
            for _ in range(_LOOKS):
                left, unseen = _left(account, name, key)
                if not left:
                    break
                time.sleep(account.pause)
            row.result = "failed" if left else "proven"
            row.detail = ", ".join(left) or f"{len(_LISTS) - len(unseen)} listings"
            if unseen:
                row.detail += f"; not checked here: {', '.join(unseen)}"
        with table.row("nothing is left under the stack's tag"):
            _look_by_tag(account, name, key)
    except Exception as error:
        _explain(error)
        left = [f"stack {name}"]
    if left:
        print(f"\nNot everything could be taken away, and it may cost money. By hand:\n{_by_hand(account, name)}")
    return left


def _settled(account: Account, name: str) -> dict[str, Any]:
    """The stack once it is not in motion; empty when there is none."""

    def rests(found: dict[str, Any]) -> bool:
        # a change set that was never carried out stays in review for good
        return not found.get("StackStatus", "").removeprefix("REVIEW_IN_PROGRESS").endswith("_IN_PROGRESS")

    return _await(
        account, partial(stack.look_up, account, name), rests, _SETTLE_SECONDS, f"the stack {name} does not settle"
    )


def _physical_id(account: Account, name: str, resource: str) -> str:
    """A resource's own id; empty when it was not made."""
    listed = account.client("cloudformation").list_stack_resources(StackName=name)["StackResourceSummaries"]
    return next((each.get("PhysicalResourceId", "") for each in listed if each["LogicalResourceId"] == resource), "")


def _stop_runs(account: Account, deployed: Stack) -> None:
    states = account.client("stepfunctions")
    running = partial(states.list_executions, stateMachineArn=deployed.pipeline_arn, statusFilter="RUNNING")
    for execution in running()["executions"]:
        states.stop_execution(executionArn=execution["executionArn"], error="Stopped", cause="the smoke test ends")
    _await(account, running, lambda seen: not seen["executions"], _SETTLE_SECONDS, "the run does not stop")


def _tear_down(account: Account, deployed: Stack) -> str:
    """Start teardown of everything, again where it asks for that, and wait for it; returns what it deleted."""
    states = account.client("stepfunctions")
    for _ in range(_TEARDOWN_TRIES):
        arn = states.start_execution(
            stateMachineArn=deployed.teardown_arn, input=(ROOT / "events" / "teardown-everything.json").read_text()
        )["executionArn"]
        ended = _await(
            account,
            partial(states.describe_execution, executionArn=arn),
            lambda seen: seen["status"] != "RUNNING",
            _TEARDOWN_SECONDS,
            f"{arn} does not end",
        )
        if ended["status"] == "SUCCEEDED":
            deleted = json.loads(ended["output"])
            return ", ".join(f"{found if kind == 'objects' else len(found)} {kind}" for kind, found in deleted.items())
        if ended.get("error") not in ("MoreToDelete", "TeardownTimeout"):
            break
    raise LocalError(f"teardown: {ended.get('error', ended['status'])}: {ended.get('cause', '')}")


def _delete_endpoint_logs(account: Account, name: str) -> None:
    """Delete the log groups that SageMaker made for this stack's endpoints; teardown leaves logs to their owner."""
    logs = account.client("logs")
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/aws/sagemaker/Endpoints/{name}")
    for group in pages.search("logGroups[].logGroupName"):
        logs.delete_log_group(logGroupName=group)


def _await(
    account: Account,
    look: Callable[[], dict[str, Any]],
    done: Callable[[dict[str, Any]], bool],
    seconds: float,
    complaint: str,
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while not done(seen := look()):
        if time.monotonic() > deadline:
            raise LocalError(f"{complaint} within {seconds:.0f} s")
        time.sleep(account.pause)
    return seen


def _left(account: Account, name: str, key: str) -> tuple[list[str], list[str]]:
    """What still exists of the stack, by name, and the listings that cannot be had here."""
    left, unseen = [], []
    for service, operation, arguments, where in _LISTS:
        pages = account.client(service).get_paginator(operation).paginate(**arguments)
        try:
            left += [f"{service} {found}" for found in pages.search(where) if found and name in found]
        except ClientError:
            unseen.append(f"{service} {operation}")
    if key and (state := account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]) != "PendingDeletion":
        left.append(f"kms {key} is {state}")
    if _settled(account, name):
        left.append(f"stack {name}")
    return left, unseen


def _look_by_tag(account: Account, name: str, key: str) -> None:
    wanted = {"Key": "aws:cloudformation:stack-name", "Values": [name]}
    pages = account.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=[wanted])
    try:
        found = [each for each in pages.search("ResourceTagMappingList[].ResourceARN") if not key or key not in each]
    except (ClientError, BotoCoreError, ValueError) as error:
        raise NotCheckedError(str(error)) from error
    if found:  # it goes on naming what is gone for a while, so this alone proves nothing
        raise NotCheckedError(f"the tagging API still names {', '.join(found)}")


def _by_hand(account: Account, name: str) -> str:
    partition = account.who.split(":")[1]
    machine = f"arn:{partition}:states:{account.region}:{account.number}:stateMachine:{name}-teardown"
    return (
        f"  aws stepfunctions start-execution --region {account.region} --state-machine-arn {machine} \\\n"
        "    --input file://events/teardown-everything.json     # wait until it has succeeded, then\n"
        f"  sam delete --stack-name {name} --region {account.region} --no-prompts"
    )


# --- a laptop cloud for it ----------------------------------------------------------------------------


@contextmanager
def _laptop_cloud() -> Iterator[None]:
    """A laptop cloud on a free port, at which this process's environment points meanwhile."""
    before = dict(os.environ)
    port, log = free_port(), _HOME / "cloud.log"
    process = laptop.spawn(port, _HOME / "cloud", log)
    try:
        environment = laptop.await_ready(process, port, log).environment()
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        laptop.end(process)


if __name__ == "__main__":
    sys.exit(main())
