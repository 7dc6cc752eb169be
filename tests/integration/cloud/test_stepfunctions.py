"""State machines on the laptop cloud: refused definitions and arguments, failing tasks, and AWS's names of errors."""

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import ROLE, Cloud, eventually
from tests.integration.machines import PASS, create, definition, ended, entered, failure, output, run, start, task
from tests.integration.training_jobs import training


@pytest.fixture(scope="module")
def states(cloud: Cloud) -> Any:
    return cloud.client("stepfunctions")


def single(state: dict[str, Any]) -> dict[str, Any]:
    return definition(Only=state)


# --- jobs ---------------------------------------------------------------------------------------------


def test_sync_training_returns_the_description(states: Any, s3: Any) -> None:
    name = f"sync-{uuid.uuid4().hex[:6]}"
    done = output(states, single(task("sagemaker:createTrainingJob.sync", training(s3, name))))
    assert done["TrainingJobStatus"] == "Completed"
    assert done["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://kennel/sfn-out/{name}/output/model.tar.gz"
    assert done["TrainingEndTime"] > 1_600_000_000_000  # epoch milliseconds
    assert done["SecondaryStatusTransitions"][0]["StartTime"] > 1_600_000_000_000


def test_a_failed_job_fails_the_task_with_its_description(states: Any, s3: Any) -> None:
    request = training(s3, f"fails-{uuid.uuid4().hex[:6]}", fail="yes")
    done = run(states, single(task("sagemaker:createTrainingJob.sync", request)))
    assert (done["status"], done["error"]) == ("FAILED", "States.TaskFailed")
    assert json.loads(done["cause"])["FailureReason"] == "AlgorithmError: no dogs, exit code: 1"


def test_a_refused_request_has_the_name_of_aws(states: Any, s3: Any) -> None:
    done = run(states, single(task("sagemaker:createTrainingJob.sync", training(s3, "wrong_name"))))
    assert (done["status"], done["error"]) == ("FAILED", "SageMaker.AmazonSageMakerException")
    assert "regular expression" in done["cause"]


def test_stopping_the_execution_stops_the_job(states: Any, sagemaker: Any, s3: Any) -> None:
    name = f"aborted-{uuid.uuid4().hex[:6]}"
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 3}]
    arn = start(states, single(task("sagemaker:createTrainingJob.sync", training(s3, name, sleep="60"), Retry=retry)))

    def look() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
        return jobs

    eventually(look, lambda jobs: bool(jobs) and jobs[0]["TrainingJobStatus"] == "InProgress")
    states.stop_execution(executionArn=arn, error="Interrupted", cause="Ctrl-C")
    eventually(look, lambda jobs: jobs[0]["TrainingJobStatus"] == "Stopped")
    states.stop_execution(executionArn=arn)  # A second stop changes nothing.
    last = states.get_execution_history(executionArn=arn, maxResults=1, reverseOrder=True)["events"][0]
    assert last["executionAbortedEventDetails"] == {"error": "Interrupted", "cause": "Ctrl-C"}
    assert ended(states, arn)["status"] == "ABORTED"  # FAILED must not overwrite it.
    assert len(look()) == 1  # The retrier did not run.


def test_a_task_that_times_out_stops_its_job(states: Any, sagemaker: Any, s3: Any) -> None:
    name = f"timed-out-{uuid.uuid4().hex[:6]}"
    request = training(s3, name, sleep="60")
    arn = start(states, single(task("sagemaker:createTrainingJob.sync", request, TimeoutSeconds=1)))
    assert ended(states, arn)["error"] == "States.Timeout"
    eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"],
        lambda status: status == "Stopped",
    )


# --- refusals of integrations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "arguments", "error"),
    [
        ("aws-sdk:sagemaker:describeEndpoint", {"EndpointName": "nobody"}, "SageMaker.SageMakerException"),
        ("aws-sdk:sagemaker:describeEndpointConfig", {"EndpointConfigName": "nobody"}, "SageMaker.SageMakerException"),
        (
            "aws-sdk:applicationautoscaling:deregisterScalableTarget",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": "endpoint/nobody/variant/AllTraffic",
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            },
            "ApplicationAutoScaling.ObjectNotFoundException",
        ),
        ("aws-sdk:ssm:getParameter", {"Name": "/nobody"}, "Ssm.ParameterNotFoundException"),
        ("aws-sdk:ssm:getParameter", {"Name": ""}, "Ssm.ValidationException"),  # The model has a minimum length.
        ("aws-sdk:s3:listObjectsV2", {"Bucket": "nobodys-bucket"}, "S3.NoSuchBucketException"),
        ("aws-sdk:s3:getObject", {"Bucket": "kennel", "Key": "nothing"}, "S3.NoSuchKeyException"),
        ("aws-sdk:ecr:describeImages", {"RepositoryName": "nobodys"}, "Ecr.RepositoryNotFoundException"),
        ("sns:publish", {"TopicArn": "arn:aws:sns:us-east-1:000000000000:no", "Message": "x"}, "SNS.NotFoundException"),
        ("lambda:invoke", {"FunctionName": "nobody", "Payload": {}}, "Lambda.ResourceNotFoundException"),
    ],
)
def test_integrations_fail_with_the_names_of_aws(
    states: Any, resource: str, arguments: dict[str, Any], error: str
) -> None:
    assert failure(states, single(task(resource, arguments))) == error


def test_an_existing_parameter_has_its_own_error(states: Any) -> None:
    name = f"/kennel/{uuid.uuid4().hex[:6]}"
    put = task("aws-sdk:ssm:putParameter", {"Name": name, "Value": "v", "Type": "String", "Overwrite": False})
    machine = definition(First={**{k: v for k, v in put.items() if k != "End"}, "Next": "Again"}, Again=put)
    assert failure(states, machine) == "Ssm.ParameterAlreadyExistsException"


@pytest.mark.parametrize(
    ("resource", "arguments", "problem"),
    [
        ("aws-sdk:ssm:getParameter", {"name": "/x"}, "The field 'name' is not supported by Step Functions"),
        ("aws-sdk:ssm:getParameter", {"name": "/x"}, "The field 'Name' is required but was missing"),
        ("aws-sdk:ecr:batchGetImage", {"RepositoryName": "x", "ImageIds": "y"}, "'ImageIds' must be an ARRAY"),
        ("aws-sdk:s3:deleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"key": "a"}]}}, "The field 'key'"),
        ("aws-sdk:cloudwatch:describeAlarms", {"AlarmName": "x"}, "The field 'AlarmName'"),
        ("sns:publish", {"TopicARN": "x", "Message": "y"}, "The field 'TopicARN'"),
        ("lambda:invoke", {"FunctionName": "x", "Pay": {}}, "The field 'Pay'"),
        ("codebuild:startBuild.sync", {"projectName": "x"}, "The field 'ProjectName' is required but was missing"),
        ("aws-sdk:ssm:getParameter", None, "The value for the field 'Arguments' must be an OBJECT"),
    ],
)
def test_arguments_are_held_against_the_api(states: Any, resource: str, arguments: Any, problem: str) -> None:
    with pytest.raises(ClientError, match="InvalidDefinition") as refusal:  # Literal arguments are checked at once.
        create(states, single(task(resource, arguments)))
    assert problem in str(refusal.value)
    # The values of expressions are checked when the task starts.
    done = run(states, single(task(resource, "{% $states.input.arguments %}")), {"arguments": arguments})
    assert (done["error"], problem in done["cause"]) == ("States.Runtime", True)


def test_a_resource_that_no_service_has_is_refused(states: Any) -> None:
    with pytest.raises(ClientError, match="getParametr is not recognized"):
        create(states, single(task("aws-sdk:ssm:getParametr", {"Name": "/x"})))


# --- answers of integrations --------------------------------------------------------------------------


def test_sdk_integrations_answer_as_the_sdk_does(cloud: Cloud, states: Any) -> None:
    topic = cloud.client("sns").create_topic(Name="news")["TopicArn"]
    name = f"/kennel/{uuid.uuid4().hex[:6]}"
    value = task("aws-sdk:ssm:getParameter", {"Name": name}, Output="{% $states.result.Parameter.Value %}", Next="Drop")
    machine = definition(
        Put=task("aws-sdk:ssm:putParameter", {"Name": name, "Value": "v", "Type": "String"}, Next="Get"),
        Get=value,
        Drop=task("aws-sdk:ssm:deleteParameter", {"Name": name}, Output="{% $states.input %}", Next="Tell"),
        Tell=task("sns:publish", {"TopicArn": topic, "Message": {"value": "{% $states.input %}"}}, Next="List"),
        List=task("aws-sdk:sagemaker:listEndpoints", {"NameContains": "nobody"}),
    )
    arn = start(states, machine)
    assert json.loads(ended(states, arn)["output"]) == {"Endpoints": []}
    assert entered(states, arn) == ["Put", "Get", "Drop", "Tell", "List"]


def test_a_bucket_is_listed_and_emptied_page_by_page(states: Any, s3: Any) -> None:
    bucket = f"full-{uuid.uuid4().hex[:6]}"
    s3.create_bucket(Bucket=bucket)
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"a folder/{number} & more.txt", Body=b"12")
    listing = task(
        "aws-sdk:s3:listObjectsV2",
        {"Bucket": bucket, "MaxKeys": 2},
        Assign={"pages": "{% $append($pages, [$sum([$states.result.Contents.Size])]) %}"},
        Output={"keys": "{% [$states.result.Contents.{'Key': Key}] %}"},
        Next="Any",
    )
    deletion = task(
        "aws-sdk:s3:deleteObjects",
        {"Bucket": bucket, "Delete": {"Objects": "{% $states.input.keys %}", "Quiet": True}},
        Next="List",
    )
    machine = definition(
        Start={"Type": "Pass", "Assign": {"pages": []}, "Next": "List"},
        List=listing,
        Any={
            "Type": "Choice",
            "Choices": [{"Condition": "{% $count($states.input.keys) > 0 %}", "Next": "Delete"}],
            "Default": "Done",
        },
        Delete=deletion,
        Done={"Type": "Pass", "Output": "{% $pages %}", "End": True},
    )
    assert output(states, machine) == [4, 4, 2, 0]  # sizes in bytes, as numbers
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


# --- expressions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        {**PASS, "Output": "{% $states.input.missing %}"},
        {**PASS, "Assign": {"x": "{% $never %}"}},
        task("aws-sdk:ssm:getParameter", {"Name": "{% $states.input.missing %}"}),
        task("aws-sdk:ssm:getParameter", {"Name": "/x"}, TimeoutSeconds="{% $states.input.missing %}"),
        task("aws-sdk:ssm:getParameter", {"Name": "/x"}, TimeoutSeconds="{% 0 %}"),
        {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input.missing %}", "Next": "Other"}],
            "Default": "Other",
        },
        {"Type": "Choice", "Choices": [{"Condition": "{% 'yes' %}", "Next": "Other"}], "Default": "Other"},
        {"Type": "Wait", "Seconds": "{% $states.input.missing %}", "End": True},
        {"Type": "Wait", "Seconds": "{% -1 %}", "End": True},
        {"Type": "Wait", "Seconds": "{% 0.5 %}", "End": True},
        {
            "Type": "Map",
            "Items": "{% 'no list' %}",
            "ItemProcessor": {"StartAt": "Each", "States": {"Each": PASS}},
            "End": True,
        },
        {"Type": "Fail", "Error": "{% 42 %}"},
    ],
    ids=lambda state: f"{state['Type']}-{'-'.join(sorted(state))}"[:60],
)
def test_what_an_expression_lacks_or_gives_wrongly_is_an_error(states: Any, state: dict[str, Any]) -> None:
    more = {"Other": PASS} if state["Type"] == "Choice" else {}
    done = run(states, definition(Only=state, **more))
    assert done["error"] == "States.QueryEvaluationError"
    assert done["cause"].startswith("An error occurred while executing the state 'Only' (entered at the event id #2). ")


def test_all_expressions_of_a_state_see_the_old_variables(states: Any) -> None:
    machine = definition(
        First={"Type": "Pass", "Assign": {"x": 3, "a": 6}, "Next": "Swap"},
        Swap={"Type": "Pass", "Assign": {"x": "{% $a %}", "next": "{% $x %}"}, "Output": "{% $x %}", "Next": "Last"},
        Last={"Type": "Pass", "Output": ["{% $states.input %}", "{% $x %}", "{% $next %}"], "End": True},
    )
    assert output(states, machine) == [3, 6, 3]  # AWS's own example; the output sees the old variables too.


def test_a_choice_that_falls_through_has_its_own_output(states: Any) -> None:
    choice = {
        "Type": "Choice",
        "Choices": [{"Condition": "{% false %}", "Next": "Other"}],
        "Default": "Other",
        "Output": "by default",
    }
    assert output(states, definition(Only=choice, Other=PASS)) == "by default"


# --- limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        {**PASS, "Output": "{% $pad('', 262143, 'x') %}"},  # The quotes add two bytes.
        {**PASS, "Output": "{% $pad('', 131072, 'é') %}"},  # The limit counts bytes, not characters.
        {**PASS, "Assign": {"x": "{% $pad('', 131072, 'x') %}", "y": "{% $pad('', 131072, 'y') %}"}},
    ],
    ids=["output", "bytes", "variables"],
)
def test_data_over_the_limit_fails(states: Any, state: dict[str, Any]) -> None:
    assert failure(states, single(state)) == "States.DataLimitExceeded"


def test_data_at_the_limit_passes(states: Any) -> None:
    assert len(output(states, single({**PASS, "Output": "{% $pad('', 262142, 'x') %}"}))) == 262_142


def test_a_history_has_an_end(states: Any) -> None:
    machine = definition(
        Again={"Type": "Pass", "Next": "Ever"},
        Ever={"Type": "Choice", "Choices": [{"Condition": True, "Next": "Again"}], "Default": "Never"},
        Never=PASS,
    )
    done = run(states, machine)
    assert (done["error"], "25000" in done["cause"]) == ("States.Runtime", True)


# --- definitions ----------------------------------------------------------------------------------------


def test_a_broken_definition_is_refused_by_the_api(states: Any) -> None:
    with pytest.raises(ClientError, match="Missing 'Next' target: Nowhere at /States/Only/Next"):
        create(states, single({"Type": "Pass", "Next": "Nowhere"}))
    arn = create(states, single(PASS))
    with pytest.raises(ClientError, match="InvalidDefinition"):
        states.update_state_machine(stateMachineArn=arn, definition=json.dumps(single({"Type": "Pass"})))
    with pytest.raises(ClientError, match="INVALID_JSONATA_EXPRESSION"):
        create(states, single({**PASS, "Output": "{% $( %}"}))


def test_input_that_is_no_json_is_refused(states: Any) -> None:
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        states.start_execution(stateMachineArn=create(states, single(PASS)), input="{'a': 1}")


def test_a_broken_definition_is_refused_by_cloudformation(cloud: Cloud) -> None:
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": ROLE, "DefinitionString": json.dumps(single({"Type": "Pass", "Next": "Nowhere"}))},
    }
    cloudformation, name = cloud.client("cloudformation"), f"broken-{uuid.uuid4().hex[:6]}"
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Machine": machine}}))
    stack = eventually(
        lambda: cloudformation.describe_stacks(StackName=name)["Stacks"][0],
        lambda stack: not stack["StackStatus"].endswith("_IN_PROGRESS"),
    )
    assert stack["StackStatus"] in ("ROLLBACK_COMPLETE", "CREATE_FAILED")
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    assert any("Invalid State Machine Definition" in event.get("ResourceStatusReason", "") for event in events)
