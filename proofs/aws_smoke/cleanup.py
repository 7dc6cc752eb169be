"""Deletes the stack and everything that its runs created, and checks that nothing is left."""

import json
import time
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local import stack
from local.home import ROOT, LocalError
from local.stack import Stack
from proofs.aws_smoke import sam
from proofs.aws_smoke.account import Account, NotCheckedError, wait_until
from proofs.aws_smoke.results import ResultTable

_TEARDOWN_TRIES = 3
_TEARDOWN_SECONDS = 3 * 3600
_SETTLE_SECONDS = 1800
_LISTING_TRIES = 20  # AWS lists deleted resources for a while.

# The kinds of resources of a stack and its runs: service, operation, arguments, and where the names are in the answer.
_LISTINGS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
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


def clean_up(account: Account, name: str, table: ResultTable) -> list[str]:
    """Delete the stack and everything that its runs created, and return what is left.

    AWS keeps some things: the records and log streams of two jobs, the key until its waiting period ends, and SAM's own
    bucket, which all SAM applications of the region share. They are not returned.
    """
    key_id = ""
    if description := _settled_stack(account, name):
        key_id = _physical_id(account, name, "Key")
        if description.get("Outputs"):  # Without outputs the stack was never complete, so nothing ran.
            deployed = stack.describe(account, name)
            _stop_runs(account, deployed)
            with table.row("teardown of everything succeeds") as row:
                row.detail = _tear_down(account, deployed)
        with table.row("sam delete succeeds"):
            sam.delete(account, name)
        _delete_endpoint_logs(account, name)
    with table.row("nothing is left") as row:
        for _ in range(_LISTING_TRIES):
            left, not_listed = _find_left_resources(account, name, key_id)
            if not left:
                break
            time.sleep(account.poll_seconds)
        row.result = "failed" if left else "proven"
        row.detail = ", ".join(left) or f"{len(_LISTINGS) - len(not_listed)} listings"
        if not_listed:
            row.detail += f"; not checked here: {', '.join(not_listed)}"
    with table.row("nothing is left under the stack's tag"):
        _check_tags(account, name, key_id)
    return left


def commands_to_delete(account: Account, name: str) -> str:
    """Return the commands that delete everything by hand."""
    machine = f"arn:{account.partition}:states:{account.region}:{account.number}:stateMachine:{name}-teardown"
    return (
        f"  aws stepfunctions start-execution --region {account.region} --state-machine-arn {machine} \\\n"
        "    --input file://events/teardown-everything.json     # wait until it has succeeded, then\n"
        f"  sam delete --stack-name {name} --region {account.region} --no-prompts"
    )


def _settled_stack(account: Account, name: str) -> dict[str, Any]:
    """Return the description of the stack when no operation changes it any more; empty when there is no stack."""

    def is_settled(description: dict[str, Any]) -> bool:
        # REVIEW_IN_PROGRESS is a final status: it belongs to a change set that was never executed.
        return not description.get("StackStatus", "").removeprefix("REVIEW_IN_PROGRESS").endswith("_IN_PROGRESS")

    return wait_until(
        account,
        partial(stack.look_up, account, name),
        is_settled,
        _SETTLE_SECONDS,
        f"the stack {name} did not reach a final status",
    )


def _physical_id(account: Account, name: str, logical_id: str) -> str:
    """Return the physical id of a resource of the stack; empty if it was not created."""
    resources = account.client("cloudformation").list_stack_resources(StackName=name)["StackResourceSummaries"]
    return next(
        (each.get("PhysicalResourceId", "") for each in resources if each["LogicalResourceId"] == logical_id), ""
    )


def _stop_runs(account: Account, deployed: Stack) -> None:
    states = account.client("stepfunctions")
    running = partial(states.list_executions, stateMachineArn=deployed.pipeline_arn, statusFilter="RUNNING")
    for execution in running()["executions"]:
        states.stop_execution(executionArn=execution["executionArn"], error="Stopped", cause="the smoke test ends")
    wait_until(account, running, lambda answer: not answer["executions"], _SETTLE_SECONDS, "the run did not stop")


def _tear_down(account: Account, deployed: Stack) -> str:
    """Run teardown of everything, again if it asks for that, and return what it deleted."""
    states = account.client("stepfunctions")
    for _ in range(_TEARDOWN_TRIES):
        arn = states.start_execution(
            stateMachineArn=deployed.teardown_arn, input=(ROOT / "events" / "teardown-everything.json").read_text()
        )["executionArn"]
        execution = wait_until(
            account,
            partial(states.describe_execution, executionArn=arn),
            lambda answer: answer["status"] != "RUNNING",
            _TEARDOWN_SECONDS,
            f"{arn} did not end",
        )
        if execution["status"] == "SUCCEEDED":
            deleted = json.loads(execution["output"])
            deleted.pop("receipt", None)  # of a run that ended early, and none of what was deleted
            return ", ".join(f"{each if kind == 'objects' else len(each)} {kind}" for kind, each in deleted.items())
        if execution.get("error") not in ("MoreToDelete", "TeardownTimeout"):
            break
    raise LocalError(f"teardown: {execution.get('error', execution['status'])}: {execution.get('cause', '')}")


def _delete_endpoint_logs(account: Account, name: str) -> None:
    """Delete the log groups that SageMaker created for the stack's endpoints, because teardown does not delete logs."""
    logs = account.client("logs")
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/aws/sagemaker/Endpoints/{name}")
    for group in pages.search("logGroups[].logGroupName"):
        logs.delete_log_group(logGroupName=group)


def _find_left_resources(account: Account, name: str, key_id: str) -> tuple[list[str], list[str]]:
    """Return the resources of the stack that still exist, and the listings that this cloud does not have."""
    left, not_listed = [], []
    for service, operation, arguments, path in _LISTINGS:
        pages = account.client(service).get_paginator(operation).paginate(**arguments)
        try:
            left += [f"{service} {resource}" for resource in pages.search(path) if resource and name in resource]
        except ClientError:
            not_listed.append(f"{service} {operation}")
    if key_id:
        state = account.client("kms").describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
        if state != "PendingDeletion":
            left.append(f"kms {key_id} is {state}")
    if _settled_stack(account, name):
        left.append(f"stack {name}")
    return left, not_listed


def _check_tags(account: Account, name: str, key_id: str) -> None:
    tag = {"Key": "aws:cloudformation:stack-name", "Values": [name]}
    pages = account.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(TagFilters=[tag])
    try:
        arns = [arn for arn in pages.search("ResourceTagMappingList[].ResourceARN") if not key_id or key_id not in arn]
    except (ClientError, BotoCoreError, ValueError) as error:
        raise NotCheckedError(str(error)) from error
    if arns:  # The API lists deleted resources for a while, so this does not prove that they exist.
        raise NotCheckedError(f"the tagging API still lists {', '.join(arns)}")
