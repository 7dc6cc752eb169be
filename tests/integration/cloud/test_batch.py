"""AWS Batch on the laptop: real processes, retries, interruptions, and jobs that AWS would never start."""

import json
import textwrap
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud.core import spot
from tests.integration.builds import build
from tests.integration.laptop import REPOSITORY, ROLE, Cloud, eventually

IMAGE = f"{REPOSITORY}:serve-batch"
PROGRAM = """
import boto3, json, os, signal, sys, time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
what, *rest = sys.argv[1:]
if what == "write":
    boto3.client("s3").put_object(Bucket="kennel", Key=rest[0], Body=json.dumps(dict(os.environ)).encode())
elif what == "fail":
    sys.exit(int(rest[0]))
elif what == "sleep":
    if os.environ["AWS_BATCH_JOB_ATTEMPT"] == "1":
        print("sleeping", flush=True)
        time.sleep(600)
print("done", flush=True)
"""
STRATEGY = {"EC2": "BEST_FIT_PROGRESSIVE", "SPOT": "SPOT_PRICE_CAPACITY_OPTIMIZED"}


@pytest.fixture(scope="module")
def batch(cloud: Cloud) -> Any:
    dockerfile = "FROM base AS serve\nWORKDIR /app\nCOPY serving serving\n"
    dockerfile += 'ENTRYPOINT ["python", "/app/serving/job.py"]\n'
    built = build(
        cloud, {"serving/Dockerfile": dockerfile, "serving/job.py": textwrap.dedent(PROGRAM)}, "serve", "batch"
    )
    assert built["buildStatus"] == "SUCCEEDED"
    iam = cloud.client("iam")
    iam.create_instance_profile(InstanceProfileName="machines")
    iam.add_role_to_instance_profile(InstanceProfileName="machines", RoleName=ROLE.rpartition("/")[2])
    return cloud.client("batch")


def queue_of(batch: Any, kind: str, maximum: int = 16, types: tuple[str, ...] = ("c7i.xlarge",), **queue: Any) -> str:
    """Create a compute environment and a queue for it; return their common name."""
    name = f"{kind.lower()}-{uuid.uuid4().hex[:6]}"
    resources = {
        "type": kind,
        "allocationStrategy": STRATEGY[kind],
        "minvCpus": 0,
        "maxvCpus": maximum,
        "instanceTypes": list(types),
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": "machines",
    }
    batch.create_compute_environment(computeEnvironmentName=name, type="MANAGED", computeResources=resources)
    order = [{"order": 1, "computeEnvironment": name}]
    batch.create_job_queue(jobQueueName=name, priority=1, computeEnvironmentOrder=order, **queue)
    return name


def submit(batch: Any, queue: str, *command: str, vcpus: int = 4, memory: int = 4096, **request: Any) -> str:
    needs = [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": str(memory)}]
    definition = batch.register_job_definition(
        jobDefinitionName="work",
        type="container",
        containerProperties={"image": IMAGE, "jobRoleArn": ROLE, "resourceRequirements": needs},
    )
    overrides = {"command": list(command), "environment": [{"name": "COLOUR", "value": "red"}]}
    return str(
        batch.submit_job(
            jobName="job",
            jobQueue=queue,
            jobDefinition=definition["jobDefinitionArn"],
            containerOverrides=overrides,
            **request,
        )["jobId"]
    )


def until(batch: Any, job: str, *statuses: str) -> dict[str, Any]:
    return eventually(lambda: batch.describe_jobs(jobs=[job])["jobs"][0], lambda found: found["status"] in statuses)


def ended(batch: Any, job: str) -> dict[str, Any]:
    return until(batch, job, "SUCCEEDED", "FAILED")


def desired(batch: Any, name: str) -> int:
    (found,) = batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]
    return int(found["computeResources"]["desiredvCpus"])


def test_job_runs_with_its_roles_credentials_and_leaves_its_log(cloud: Cloud, batch: Any) -> None:
    queue = queue_of(batch, "EC2")
    job = submit(batch, queue, "write", "batch/environment.json")
    found = ended(batch, job)
    assert (found["status"], found["container"]["exitCode"]) == ("SUCCEEDED", 0)
    assert found["statusReason"] == "Essential container in task exited"
    written = cloud.client("s3").get_object(Bucket="kennel", Key="batch/environment.json")["Body"].read()
    environment = json.loads(written)
    assert environment["AWS_BATCH_JOB_ID"] == job
    assert environment["AWS_BATCH_JOB_ATTEMPT"] == "1"
    assert (environment["AWS_BATCH_JQ_NAME"], environment["AWS_BATCH_CE_NAME"]) == (queue, queue)
    assert environment["COLOUR"] == "red"
    stream = found["container"]["logStreamName"]
    assert stream.startswith("work/default/")
    events = cloud.client("logs").get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["done"]
    assert desired(batch, queue) == 0


def test_failed_attempts_are_retried_as_the_rules_say(batch: Any) -> None:
    queue = queue_of(batch, "EC2")
    rules = [{"onExitCode": "3", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    strategy = {"attempts": 3, "evaluateOnExit": rules}
    retried = submit(batch, queue, "fail", "3", retryStrategy=strategy)
    at_once = submit(batch, queue, "fail", "4", retryStrategy=strategy)
    plain = submit(batch, queue, "fail", "5", retryStrategy={"attempts": 2})
    found = [ended(batch, job) for job in (retried, at_once, plain)]
    assert [(job["status"], len(job["attempts"])) for job in found] == [("FAILED", 3), ("FAILED", 1), ("FAILED", 2)]
    assert [job["container"]["exitCode"] for job in found] == [3, 4, 5]


def test_interrupted_spot_job_starts_again(cloud: Cloud, batch: Any) -> None:
    queue = queue_of(batch, "SPOT")
    rules = [{"onStatusReason": "Host EC2*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    job = submit(batch, queue, "sleep", retryStrategy={"attempts": 2, "evaluateOnExit": rules})
    until(batch, job, "RUNNING")
    assert cloud.pids(f"batch-jobs/{job}")
    assert desired(batch, queue) == 4
    spot.interrupt(cloud.home, job, "", spot.BATCH_JOBS)
    found = ended(batch, job)
    assert found["status"] == "SUCCEEDED"
    first, second = found["attempts"]
    assert first["statusReason"].startswith("Host EC2 (instance i-")
    assert "exitCode" not in first["container"]
    assert second["container"]["exitCode"] == 0
    assert cloud.pids(f"batch-jobs/{job}") == []


def test_terminated_job_leaves_no_process_and_cancel_ends_only_what_waits(cloud: Cloud, batch: Any) -> None:
    queue = queue_of(batch, "EC2", maximum=4)
    runs, waits = submit(batch, queue, "sleep"), submit(batch, queue, "sleep")
    until(batch, runs, "RUNNING")
    until(batch, waits, "RUNNABLE")
    for job in (runs, waits):
        batch.cancel_job(jobId=job, reason="not needed")
    found = ended(batch, waits)
    assert (found["status"], found["statusReason"], found["isCancelled"]) == ("FAILED", "not needed", True)
    assert until(batch, runs, "RUNNING")["status"] == "RUNNING"
    batch.terminate_job(jobId=runs, reason="too expensive")
    found = ended(batch, runs)
    assert (found["status"], found["statusReason"], found["isTerminated"]) == ("FAILED", "too expensive", True)
    assert found["container"]["exitCode"] == 143
    assert cloud.pids(f"batch-jobs/{runs}") == []
    listed = batch.list_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["job*"]}])["jobSummaryList"]
    assert {(job["jobId"], job["status"]) for job in listed} == {(runs, "FAILED"), (waits, "FAILED")}
    assert batch.list_jobs(jobQueue=queue)["jobSummaryList"] == []


@pytest.mark.parametrize(
    ("environment", "needs", "reason"),
    [
        ({}, {"vcpus": 8}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job needs 8 vCPUs"),
        ({}, {"memory": 8192}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"),
        ({"maximum": 2}, {}, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"),
    ],
    ids=["more vCPUs than any type", "all of the memory", "above maxvCpus"],
)
def test_job_that_aws_never_starts_waits_and_says_why(
    batch: Any, environment: dict[str, Any], needs: dict[str, Any], reason: str
) -> None:
    job = submit(batch, queue_of(batch, "EC2", **environment), "fail", "0", **needs)
    found = eventually(lambda: batch.describe_jobs(jobs=[job])["jobs"][0], lambda job: "statusReason" in job)
    assert found["status"] == "RUNNABLE"
    assert found["statusReason"].startswith(reason)
    batch.cancel_job(jobId=job, reason="enough")
    ended(batch, job)


def test_disabled_environment_starts_nothing_until_it_is_enabled(batch: Any) -> None:
    queue = queue_of(batch, "EC2")
    batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
    job = submit(batch, queue, "fail", "0")
    found = eventually(lambda: batch.describe_jobs(jobs=[job])["jobs"][0], lambda job: "statusReason" in job)
    assert found["statusReason"].startswith("ACTION_REQUIRED")
    batch.update_compute_environment(computeEnvironment=queue, state="ENABLED")
    assert ended(batch, job)["status"] == "SUCCEEDED"


def test_several_nodes_never_start_on_spot(batch: Any) -> None:
    needs = [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "2048"}]
    definition = batch.register_job_definition(
        jobDefinitionName="nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [
                {"targetNodes": "0:1", "container": {"image": IMAGE, "resourceRequirements": needs}}
            ],
        },
    )["jobDefinitionArn"]
    job = batch.submit_job(jobName="nodes", jobQueue=queue_of(batch, "SPOT"), jobDefinition=definition)["jobId"]
    found = eventually(lambda: batch.describe_jobs(jobs=[job])["jobs"][0], lambda job: "statusReason" in job)
    assert (found["status"], "never on SPOT" in found["statusReason"]) == ("RUNNABLE", True)
    batch.terminate_job(jobId=job, reason="enough")


def test_resources_are_refused_as_aws_refuses_them(batch: Any) -> None:
    with pytest.raises(ClientError, match=r"ClientException.*Object does not exist|ClientException.*identifier"):
        batch.submit_job(jobName="job", jobQueue="nowhere", jobDefinition="work")
    queue = queue_of(batch, "EC2")
    with pytest.raises(ClientError, match="must be in state DISABLED"):
        batch.delete_job_queue(jobQueue=queue)
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    with pytest.raises(ClientError, match="not in state ENABLED"):
        submit(batch, queue, "fail", "0")
    batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
    with pytest.raises(ClientError, match="found existing JobQueue relationship"):
        batch.delete_compute_environment(computeEnvironment=queue)
    batch.delete_job_queue(jobQueue=queue)
    batch.delete_compute_environment(computeEnvironment=queue)
    assert batch.describe_job_queues(jobQueues=[queue])["jobQueues"] == []


def test_callers_need_the_rights_on_queue_and_definition(cloud: Cloud, batch: Any) -> None:
    queue = queue_of(batch, "EC2")
    role = cloud.make_role("submitter", {"Effect": "Allow", "Action": "batch:DescribeJobs", "Resource": "*"})
    with pytest.raises(ClientError, match=r"AccessDenied.*batch:SubmitJob"):
        cloud.client("batch", role=role).submit_job(jobName="job", jobQueue=queue, jobDefinition="work:1")


def machine_of(cloud: Cloud, queue: str, definition: str, *command: str) -> str:
    """Create a state machine with one task, which waits for a job; return its ARN."""
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::batch:submitJob.sync",
        "Arguments": {
            "JobName": "waited",
            "JobQueue": queue,
            "JobDefinition": definition,
            "ContainerOverrides": {"Command": list(command)},
        },
        "End": True,
    }
    machine = {"QueryLanguage": "JSONata", "StartAt": "Work", "States": {"Work": task}}
    states = cloud.client("stepfunctions")
    name = f"batch-{uuid.uuid4().hex[:6]}"
    created = states.create_state_machine(name=name, definition=json.dumps(machine), roleArn=ROLE)
    return str(created["stateMachineArn"])


def definition_of(batch: Any) -> str:
    needs = [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "4096"}]
    container = {"image": IMAGE, "resourceRequirements": needs}
    registered = batch.register_job_definition(
        jobDefinitionName="waited", type="container", containerProperties=container, parameters={"colour": "red"}
    )
    return str(registered["jobDefinitionArn"])


def test_state_machine_waits_for_a_job_and_gets_its_description_in_aws_form(cloud: Cloud, batch: Any) -> None:
    """The names are those of a job's description that public reports of failed states quote."""
    queue, states = queue_of(batch, "EC2"), cloud.client("stepfunctions")
    for code, status in (("0", "SUCCEEDED"), ("7", "FAILED")):
        machine = machine_of(cloud, queue, definition_of(batch), "fail", code)
        started = states.start_execution(stateMachineArn=machine)["executionArn"]
        ended_one = eventually(
            lambda started=started: states.describe_execution(executionArn=started),
            lambda found: found["status"] != "RUNNING",
        )
        assert ended_one["status"] == status
        job = json.loads(ended_one["output"] if status == "SUCCEEDED" else ended_one["cause"])
        assert (job["JobName"], job["Status"], job["StatusReason"]) == (
            "waited",
            status,
            "Essential container in task exited",
        )
        assert job["Container"]["ExitCode"] == int(code)
        assert job["Attempts"][0]["Container"]["LogStreamName"].startswith("waited/default/")
        assert {"Name": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"} in job["Container"]["Environment"]
        assert isinstance(job["CreatedAt"], int)
        if status == "FAILED":
            assert ended_one["error"] == "States.TaskFailed"


def test_stopped_execution_ends_its_job(cloud: Cloud, batch: Any) -> None:
    queue, states = queue_of(batch, "SPOT"), cloud.client("stepfunctions")
    machine = machine_of(cloud, queue, definition_of(batch), "sleep")
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    (job,) = eventually(lambda: batch.list_jobs(jobQueue=queue)["jobSummaryList"], lambda found: len(found) == 1)
    states.stop_execution(executionArn=execution)
    assert ended(batch, job["jobId"])["isTerminated"] is True
    assert cloud.pids(f"batch-jobs/{job['jobId']}") == []
    assert desired(batch, queue) == 0


def test_task_needs_the_rights_to_submit_watch_and_end_its_job(cloud: Cloud, batch: Any) -> None:
    queue, states = queue_of(batch, "EC2"), cloud.client("stepfunctions")
    every = ("batch:SubmitJob", "batch:DescribeJobs", "events:PutRule", "events:PutTargets", "events:DescribeRule")
    role = cloud.make_role("almost", {"Effect": "Allow", "Action": list(every), "Resource": "*"})
    machine = machine_of(cloud, queue, definition_of(batch), "fail", "0")
    states.update_state_machine(stateMachineArn=machine, roleArn=role)
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    found = eventually(
        lambda: states.describe_execution(executionArn=execution), lambda found: found["status"] != "RUNNING"
    )
    assert (found["status"], found["error"]) == ("FAILED", "Batch.AWSBatchException")
    assert "batch:TerminateJob" in found["cause"]


def test_template_makes_changes_and_removes_environments_and_queues(cloud: Cloud, batch: Any) -> None:
    def template(maximum: int, priority: int) -> str:
        resources = {
            "Type": "SPOT",
            "AllocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
            "MinvCpus": 0,
            "MaxvCpus": maximum,
            "InstanceTypes": [{"Fn::Select": [1, {"Fn::Split": ["ml.", "ml.c7i.xlarge"]}]}],
            "Subnets": {"Fn::Split": [",", "subnet-1,subnet-2"]},
            "SecurityGroupIds": ["sg-1"],
            "InstanceRole": "machines",
        }
        queue = {"Priority": priority, "ComputeEnvironmentOrder": [{"Order": 1, "ComputeEnvironment": {"Ref": "Env"}}]}
        env = {"Type": "MANAGED", "State": "ENABLED", "ReplaceComputeEnvironment": False, "ComputeResources": resources}
        return json.dumps(
            {
                "Resources": {
                    "Env": {"Type": "AWS::Batch::ComputeEnvironment", "Properties": env},
                    "Queue": {"Type": "AWS::Batch::JobQueue", "Properties": queue},
                },
                "Outputs": {"Queue": {"Value": {"Ref": "Queue"}}},
            }
        )

    formation, stack = cloud.client("cloudformation"), f"batch-{uuid.uuid4().hex[:6]}"

    def settled(*statuses: str) -> dict[str, Any]:
        return eventually(
            lambda: formation.describe_stacks(StackName=stack)["Stacks"][0],
            lambda found: found["StackStatus"] in statuses,
        )

    def made() -> tuple[dict[str, Any], dict[str, Any]]:
        (output,) = settled("CREATE_COMPLETE", "UPDATE_COMPLETE")["Outputs"]
        (queue,) = batch.describe_job_queues(jobQueues=[output["OutputValue"]])["jobQueues"]
        order = [each["computeEnvironment"] for each in queue["computeEnvironmentOrder"]]
        (found,) = batch.describe_compute_environments(computeEnvironments=order)["computeEnvironments"]
        return queue, found

    formation.create_stack(StackName=stack, TemplateBody=template(8, 1))
    queue, environment = made()
    assert (queue["priority"], environment["status"]) == (1, "VALID")
    assert environment["computeResources"]["instanceTypes"] == ["c7i.xlarge"]
    assert environment["computeResources"]["subnets"] == ["subnet-1", "subnet-2"]
    formation.update_stack(StackName=stack, TemplateBody=template(16, 2))
    queue, environment = eventually(made, lambda found: found[0]["priority"] == 2)
    assert environment["computeResources"]["maxvCpus"] == 16
    formation.delete_stack(StackName=stack)
    arn = environment["computeEnvironmentArn"]
    eventually(
        lambda: batch.describe_compute_environments(computeEnvironments=[arn])["computeEnvironments"],
        lambda found: not found,
    )
    assert batch.describe_job_queues(jobQueues=[queue["jobQueueArn"]])["jobQueues"] == []
