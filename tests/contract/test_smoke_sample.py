"""The sample of a run, with which ``make aws-smoke`` lets AWS look at every request, is one that the machines take.

    PYTHONPATH=functions python -m tests.contract.test_smoke_sample

writes the sample anew from the contracts and the template.
"""

import json
import re
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator
from samcli.yamlhelper import yaml_parse

from proofs.aws_smoke.account import Account
from proofs.aws_smoke.definitions import read_sample, tasks
from tests.contract.test_permissions import HOLDERS, INPUTS, evaluate, sample_run, sample_variables

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "proofs" / "aws_smoke" / "sample.json"
ACCOUNT = Account("us-east-1", "000000000000", "arn:aws:sts::000000000000:assumed-role/x/y", "")
# The names of services in Step Functions that differ from botocore's.
SERVICES = {"applicationautoscaling": "application-autoscaling", "cloudwatchlogs": "logs", "sfn": "stepfunctions"}


def sample(template):
    """Return the variables and inputs of a run that uses every optional field."""
    run = sample_run(template)
    subnets, groups = ["subnet-1", "subnet-2"], ["sg-1"]
    function = {"network": {"SubnetIds": subnets, "SecurityGroupIds": groups}, "reserved": 20, "provisioned": 1}
    run = run.model_copy(
        update={
            "training": run.training.model_copy(update={"spot": True, "instance_count": 2}),
            "hosting": "auto",
            "function": run.function.model_copy(update={**function, "provisioned_max": 2}),
            "network": {"VpcConfig": {"Subnets": subnets, "SecurityGroupIds": groups}},
        }
    )
    inputs = {name: each[0] for name, each in INPUTS.items()}
    inputs["ExplainFailure"] = {"Error": "States.TaskFailed", "Cause": "no dogs"}
    return {"variables": sample_variables(run), "inputs": inputs}


def test_the_sample_is_up_to_date(template):
    assert json.loads(SAMPLE.read_text()) == json.loads(json.dumps(sample(template))), (
        "PYTHONPATH=functions python -m tests.contract.test_smoke_sample writes the sample anew"
    )


@pytest.fixture(scope="module")
def requests():
    """Return the request of each task as its machine would send it: (task, arguments)."""
    written = read_sample(ACCOUNT)
    context = {"Execution": {"Id": HOLDERS[0], "Name": "x"}, "State": {"RetryCount": 0, "Name": "x"}}

    def arguments(task):
        states = {"input": written.inputs.get(task.name, {}), "context": context}
        return evaluate(task.state["Arguments"], {**written.variables, "states": states})

    return [(task, arguments(task)) for task in tasks(ACCOUNT)]


def test_every_request_of_the_sample_is_one_that_aws_documents(requests):
    session, problems = botocore.session.get_session(), {}
    assert len(requests) > 60
    for task, arguments in requests:
        *_, service, operation = task.state["Resource"].removesuffix(".sync").split(":")
        model = session.get_service_model(SERVICES.get(service, service))
        name = {xform_name(each): each for each in model.operation_names}[xform_name(operation)]
        shape = model.operation_model(name).input_shape
        if report := ParamValidator().validate(renamed(shape, arguments), shape).generate_report():
            problems[f"{task.file}, {task.name}"] = report
    assert not problems


def renamed(shape, value):
    """Return a request of Step Functions, whose members begin with a capital, with the names of botocore's model."""
    if shape is None:
        return value
    if shape.type_name == "blob":
        return json.dumps(value).encode()
    if shape.type_name == "list" and isinstance(value, list):
        return [renamed(shape.member, each) for each in value]
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {name[0].upper() + name[1:]: name for name in shape.members}
        return {names.get(key, key): renamed(shape.members.get(names.get(key)), each) for key, each in value.items()}
    return value


def test_the_sample_has_every_variable_that_a_task_reads():
    written = read_sample(ACCOUNT)
    read = {
        name
        for task in tasks(ACCOUNT)
        for name in re.findall(r"\$([A-Za-z]\w*)(?![\w(])", json.dumps(task.state["Arguments"]))
    }
    local = {"policy", "states", "LATEST"}  # The last one is Lambda's own word.
    assert len(read) > 5
    assert read - local <= written.variables.keys()


def test_the_sample_uses_what_a_run_may_leave_out(requests):
    everything = json.dumps([arguments for _, arguments in requests])
    for field in ("VpcConfig", "MaxWaitTimeInSeconds", "VolumeKmsKeyId", "KmsKeyId", "/champion"):
        assert field in everything
    assert '"EnableManagedSpotTraining": true' in everything
    assert '"EnableInterContainerTrafficEncryption": true' in everything


if __name__ == "__main__":
    document = sample(yaml_parse((ROOT / "template.yaml").read_text()))
    SAMPLE.write_text(json.dumps(document, indent=1) + "\n")
