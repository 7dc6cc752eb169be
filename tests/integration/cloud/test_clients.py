"""What AWS's clients ask for beside the services that Kennel uses: answered, or refused in words that they print."""

import io
import json
import re
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import REGION, ROLE, Cloud, eventually

CODE = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'here'}\n"


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Iterator[dict[str, str]]:
    """A stack of a change set, as SAM makes it: a function with a URL behind an API, and a layer."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", CODE)
    cloud.client("s3").put_object(Bucket="kennel", Key="clients.zip", Body=archive.getvalue())
    code = {"S3Bucket": "kennel", "S3Key": "clients.zip"}
    uri = "arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Function.Arn}/invocations"
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}}
    body = {"openapi": "3.0.1", "paths": {"/here": {"get": {"x-amazon-apigateway-integration": proxy}}}}
    function = {"Runtime": "python3.11", "Handler": "index.handler", "Role": ROLE, "Code": code}
    permission = {"FunctionName": {"Ref": "Function"}, "Principal": "apigateway.amazonaws.com"}
    resources = {
        "Function": ("AWS::Lambda::Function", function),
        "Url": ("AWS::Lambda::Url", {"TargetFunctionArn": {"Ref": "Function"}, "AuthType": "AWS_IAM"}),
        "Layer": ("AWS::Lambda::LayerVersion", {"LayerName": "clients", "Content": code}),
        "Api": ("AWS::ApiGateway::RestApi", {"Name": "clients", "Body": body}),
        "Deployment": ("AWS::ApiGateway::Deployment", {"RestApiId": {"Ref": "Api"}, "StageName": "v1"}),
        "MayInvoke": ("AWS::Lambda::Permission", {**permission, "Action": "lambda:InvokeFunction"}),
    }
    template = {
        "Description": "what clients ask for",
        "Resources": {name: {"Type": kind, "Properties": each} for name, (kind, each) in resources.items()},
        "Outputs": {
            **{name: {"Value": {"Ref": name}} for name in ("Api", "Function", "Layer")},
            "Url": {"Value": {"Fn::GetAtt": ["Url", "FunctionUrl"]}},
        },
    }
    formation, name = cloud.client("cloudformation"), f"clients-{uuid.uuid4().hex[:6]}"
    request = {"StackName": name, "ChangeSetName": "first"}
    formation.create_change_set(**request, ChangeSetType="CREATE", TemplateBody=json.dumps(template))
    eventually(lambda: formation.describe_change_set(**request), lambda found: found["Status"] == "CREATE_COMPLETE")
    formation.execute_change_set(**request)
    stack = eventually(
        lambda: formation.describe_stacks(StackName=name)["Stacks"][0],
        lambda found: found["StackStatus"] in ("CREATE_COMPLETE", "ROLLBACK_COMPLETE"),
    )
    yield {"Description": stack["Description"]} | {e["OutputKey"]: e["OutputValue"] for e in stack["Outputs"]}
    formation.delete_stack(StackName=name)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("codecommit", "list_repositories"),
        ("xray", "get_trace_summaries"),
        ("elasticache", "describe_events"),
        ("ec2", "describe_vpcs"),
        ("route53", "list_hosted_zones"),
        ("snowball", "list_jobs"),
    ],
)
def test_a_missing_service_is_refused_in_words_that_clients_print(cloud: Cloud, service: str, operation: str) -> None:
    request = {"StartTime": 0, "EndTime": 1} if service == "xray" else {}
    with pytest.raises(ClientError) as error:
        getattr(cloud.client(service), operation)(**request)
    assert error.value.response["Error"]["Message"].startswith("The laptop cloud has no service ")
    assert error.value.response["Error"]["Code"] == "UnknownOperationException"


def test_cloud_control_tells_the_address_of_a_function_and_an_api(cloud: Cloud, api: dict[str, str]) -> None:
    control = cloud.client("cloudcontrol")
    for kind, identifier, member, value in (
        ("AWS::Lambda::Url", api["Function"], "FunctionUrl", api["Url"]),
        ("AWS::ApiGateway::RestApi", api["Api"], "RestApiId", api["Api"]),
    ):
        found = control.get_resource(TypeName=kind, Identifier=identifier)["ResourceDescription"]
        assert json.loads(found["Properties"])[member] == value
        with pytest.raises(control.exceptions.ResourceNotFoundException, match="'nobody' was not found"):
            control.get_resource(TypeName=kind, Identifier="nobody")
    with pytest.raises(ClientError, match="gets no resource of type AWS::S3::Bucket; it gets AWS::ApiGateway"):
        control.get_resource(TypeName="AWS::S3::Bucket", Identifier="kennel")


def test_an_api_answers_to_its_host_on_aws(cloud: Cloud, api: dict[str, str]) -> None:
    for host in (f"{api['Api']}.execute-api.{REGION}.amazonaws.com", f"{api['Api']}.execute-api.localhost"):
        request = urllib.request.Request(f"{cloud.url}/v1/here", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.read() == b"here"


def test_a_stack_of_a_change_set_has_its_description(api: dict[str, str]) -> None:
    assert api["Description"] == "what clients ask for"


def test_versions_of_a_layer_are_listed_by_its_name_and_its_arn(cloud: Cloud, api: dict[str, str]) -> None:
    functions, layer = cloud.client("lambda"), api["Layer"].rpartition(":")[0]
    for name in ("clients", layer):
        versions = functions.list_layer_versions(LayerName=name)["LayerVersions"]
        assert api["Layer"] in [each["LayerVersionArn"] for each in versions]


def test_usage_by_day_is_refused(cloud: Cloud) -> None:
    gateway = cloud.client("apigateway")
    plan = gateway.create_usage_plan(name="counted")["id"]
    with pytest.raises(ClientError, match="The laptop cloud has no operation GetUsage"):
        gateway.get_usage(usagePlanId=plan, startDate="2026-11-01", endDate="2026-11-02")
    gateway.delete_usage_plan(usagePlanId=plan)


def test_arithmetic_of_metrics_is_answered_and_other_metric_math_refused(cloud: Cloud) -> None:
    cloudwatch, now = cloud.client("cloudwatch"), time.time()
    for name, value in (("Asked", 12.0), ("Shares", 4.0)):
        datum = {"MetricName": name, "Value": value, "Timestamp": now}
        cloudwatch.put_metric_data(Namespace="Math", MetricData=[datum])

    def ask(expression: str) -> Any:
        metrics = [
            {
                "Id": name.lower(),
                "MetricStat": {"Metric": {"Namespace": "Math", "MetricName": name}, "Period": 60, "Stat": "Sum"},
                "ReturnData": False,
            }
            for name in ("Asked", "Shares")
        ]
        queries = [{"Id": "instances", "Expression": expression}, *metrics]
        return cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=now - 60, EndTime=now + 60)

    [result] = ask("asked / shares")["MetricDataResults"]
    assert (result["Id"], result["Values"]) == ("instances", [3.0])
    assert result["Timestamps"][0].timestamp() == now // 60 * 60
    with pytest.raises(ClientError, match=re.escape("+ - * / and parentheses, not 'FILL(asked, 0)'")):
        ask("FILL(asked, 0)")


def test_members_that_have_no_effect_are_refused_by_services_of_ministack(cloud: Cloud) -> None:
    machine = f"arn:aws:states:{REGION}:000000000000:stateMachine:any"
    refused = pytest.raises(
        ClientError, match=r"\((Validation|InvalidInput|Client)Exception\).* has no \w+; leave it out"
    )
    with refused:
        cloud.client("stepfunctions").describe_execution(executionArn=machine, includedData="METADATA_ONLY")
    with refused:
        cloud.client("codebuild").start_build(projectName="any", imageOverride="docker")
    with refused:
        cloud.client("batch").submit_job(jobName="a", jobQueue="b", jobDefinition="c", shareIdentifier="d")
