"""The template and the code it deploys agree."""

import importlib
import json
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest

from classify.photos import UPLOADS
from classify.settings import ClassifySettings
from cloud.codebuild import builds
from page.settings import PageSettings
from plan import request, stack
from plan.run import VARIANT, PlanSettings
from serving import telemetry
from shared.settings import Settings
from tests.contract.test_permissions import Resolver

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = (
    "Plan",
    "Gate",
    "Smoke",
    "Measure",
    "Remember",
    "Restore",
    "Rank",
    "Explain",
    "Receipt",
    "Classify",
    "Page",
)
CONDITIONAL = ("Admit", "Meter", "Widget")  # functions that not every stack has


def properties(template, name):
    return template["Resources"][name]["Properties"]


@pytest.mark.parametrize("name", [*FUNCTIONS, *CONDITIONAL])
def test_handler_exists_and_the_function_has_its_states_name(template, name):
    module, function = properties(template, f"{name}Function")["Handler"].rsplit(".", 1)
    if properties(template, f"{name}Function").get("CodeUri") == f"functions/{name.lower()}/":
        module = f"{name.lower()}.{module}"  # The function is built from its own folder alone.
    source = (ROOT / "functions" / (module.replace(".", "/") + ".py")).read_text()
    assert module == f"{name.lower()}.app"
    assert re.search(rf"^def {function}\(", source, re.MULTILINE)


def test_settings_are_exactly_the_functions_environment(template):
    variables = properties(template, "PlanFunction")["Environment"]["Variables"]
    assert {field.name.upper() for field in fields(PlanSettings)} == set(variables)
    variables = properties(template, "ClassifyFunction")["Environment"]["Variables"]
    assert {field.name.upper() for field in fields(ClassifySettings)} == set(variables)
    variables = properties(template, "PageFunction")["Environment"]["Variables"]
    assert {field.name.upper() for field in fields(PageSettings)} == set(variables)
    assert issubclass(PlanSettings, Settings)
    assert issubclass(ClassifySettings, Settings)


@pytest.mark.parametrize("name", [*FUNCTIONS, *CONDITIONAL])
def test_logs_are_kept_for_a_chosen_time(template, name):
    logs = properties(template, f"{name}Function")["LoggingConfig"]["LogGroup"]["Ref"]
    assert properties(template, logs)["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    function = properties(template, f"{name}Function")["FunctionName"]["Fn::Sub"]
    assert properties(template, logs)["LogGroupName"]["Fn::Sub"] == f"/aws/lambda/{function}"


def statements(template):
    for name, resource in template["Resources"].items():
        role = resource.get("Properties", {})
        for policy in role.get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else ():
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            for statement in role["PolicyDocument"]["Statement"]:
                yield name, statement


def test_every_statement_says_why_and_none_allows_everything(template):
    all_statements = list(statements(template))
    assert len(all_statements) > 30
    for name, statement in all_statements:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", statement["Sid"]), name
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions), (name, statement["Sid"])


def test_statements_on_all_resources_are_those_that_support_none(template):
    wide = {statement["Sid"] for _, statement in statements(template) if statement["Resource"] == "*"}
    assert wide == {
        "WriteContainerMetrics",
        "LogInToEcr",
        "FindEndpoints",
        "FindMeasuredVersions",
        "SeeTheAccountsConcurrency",
        "SeeItsRange",
        "FindWhatIsOurs",
        "FindTheScalableTarget",
        "FindTheVersionOfTheRun",
        "FindTheVersionThatServes",
        "SeeHowTheEndpointScales",
        "RememberScaling",
        "DescribeScaling",
        "ReadTheTrialsOfASearch",
        "MeterTheTrialsOfASearch",
        "MeterJobsOnEc2",
        "SeeTheNetwork",
        "DeliverLogs",
        "SendTraces",
        "FindTheCluster",
        "WatchJobsOnEc2",
        "FindJobsOnEc2",
        "ReadWhatInspectorFound",
        "CompareTheAccountsQuotas",
        "FindJobsAndEndpoints",
        "SeeJobsOnEc2",
        "ReadSumsOfMetrics",
    }


def test_functions_fit_into_a_new_account(template):
    """A new account has functions of at most 3,008 MB and ten at once, so none may be reserved by default."""
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    assert len(functions) == len([*FUNCTIONS, *CONDITIONAL])
    for function in functions:
        memory = function["Properties"].get("MemorySize", template["Globals"]["Function"]["MemorySize"])
        assert default_of(template, memory) <= 3008
    for name in ("ApiReservedConcurrency", "ApiProvisionedConcurrency", "PageReservedConcurrency"):
        assert template["Parameters"][name]["Default"] == 0


def test_the_receipt_knows_the_memory_of_each_function_that_has_another_than_its_own(template):
    usual = template["Globals"]["Function"]["MemorySize"]
    assert "MemorySize" not in properties(template, "ReceiptFunction")
    written = json.loads(
        Resolver(template).resolve(properties(template, "ReceiptFunction")["Environment"])["Variables"]["MEMORY"]
    )
    others = {name.lower(): properties(template, f"{name}Function").get("MemorySize", usual) for name in FUNCTIONS}
    assert written == {name: default_of(template, each) for name, each in others.items() if each != usual}


def default_of(template, value):
    """The value, or the default of the parameter that it refers to."""
    return template["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) else value


@pytest.mark.parametrize("path", sorted((ROOT / "events").glob("pipeline*.json")), ids=lambda p: p.stem)
def test_sample_inputs_of_the_pipeline_are_requests(path):
    request.parse(json.loads(path.read_text()))


@pytest.mark.parametrize("name", [*FUNCTIONS, *CONDITIONAL])
def test_every_function_has_a_sample_event(name):
    assert json.loads((ROOT / "events" / f"{name.lower()}.json").read_text())


def test_layer_contains_what_plan_uploads():
    code = importlib.import_module("plan.code")
    makefile = (ROOT / "layers/jobs/Makefile").read_text()
    for folder in code.CONTEXT:
        assert re.search(rf"\b{folder}\b", makefile)


def test_build_pushes_the_images_that_the_pipeline_looks_for(template):
    project = properties(template, "ImageBuilder")
    build = project["Source"]["BuildSpec"]
    declared = {each["Name"] for each in project["Environment"]["EnvironmentVariables"]}
    assert set(re.findall(r"\$\{?([A-Z_]+)", build)) == (
        declared | {"TARGETS", "CONTENT_HASH", "CODEBUILD_BUILD_ID"}  # CodeBuild itself sets the last one.
    )
    assert 'tag="$target-$CONTENT_HASH"' in build
    assert "--file serving/Dockerfile" in build
    assert (ROOT / "serving/Dockerfile").exists()
    assert builds.DOCKERFILE == "serving/Dockerfile"
    assert properties(template, "Images")["ImageTagMutability"] == "IMMUTABLE"
    assert json.loads(properties(template, "Images")["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]


def test_inline_policies_fit_into_a_role(template):
    sizes = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            documents = [policy["PolicyDocument"] for policy in resource["Properties"].get("Policies", [])]
            # An intrinsic function is longer than the ARN that replaces it.
            sizes[name] = len(re.sub(r"\s", "", json.dumps(documents)))
    assert sizes["PipelineRole"] > 3000
    assert {name: size for name, size in sizes.items() if size > 10_240} == {}


def test_weights_are_pinned_alike_everywhere():
    installed, packed = (
        set(re.findall(r"\w+_pytorch_model==[\d.]+", (ROOT / path).read_text()))
        for path in ("pyproject.toml", "layers/jobs/requirements.in")
    )
    assert len(installed) == 2
    assert installed == packed


def test_alarms_watch_existing_metrics_and_notify_the_topic(template):
    alarms = [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    code = [*(ROOT / "functions").rglob("*.py"), ROOT / "serving/telemetry.py"]
    sources = "".join(file.read_text() for file in code)
    own = [alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "Kennel"]
    assert own
    assert [name for name in own if f'"{name}"' not in sources] == []
    assert all(alarm["AlarmActions"] == [{"Ref": "Topic"}] for alarm in alarms)
    variants = {json.dumps(alarm["Dimensions"]) for alarm in alarms if alarm["Namespace"] == "AWS/SageMaker"}
    assert all(f'"Value": "{VARIANT}"' in dimensions for dimensions in variants)


def test_pipeline_has_a_key_that_no_caller_has(template):
    """A quota that callers use up, or their key when it is disabled, must stop neither a run nor the way back."""
    resources = template["Resources"]
    authorizer = {"AdmitFunction", "AdmitFunctionRole"}  # It names the key that counts whoever has signed in.
    for function in ("PlanFunction", "SmokeFunction"):
        assert resources[function]["Properties"]["Environment"]["Variables"]["API_KEY_ID"] == {"Ref": "SmokeApiKey"}
    assert "Quota" not in resources["SmokeUsagePlan"]["Properties"]
    assert resources["SmokeUsagePlanKey"]["Properties"]["UsagePlanId"] == {"Ref": "SmokeUsagePlan"}
    of_callers = {"ApiApiKey", "ApiUsagePlan", "ApiUsagePlanKey"}
    users = {name for name, each in resources.items() if re.search(r"\bApiApiKey\b", json.dumps(each))}
    assert users - of_callers == authorizer
    assert all("SmokeApiKey" not in json.dumps(output) for output in template["Outputs"].values())


def test_callers_cannot_move_the_alarms_that_take_an_update_back(template, machines):
    """Their metrics are the server's own faults; SageMaker's count refusals, waiting and decoding."""
    update = json.dumps(machines["pipeline"]["States"]["UpdateProduction"]["Arguments"])
    names = set(re.findall(r"\$\{(\w+Alarm)\}", update))
    watching = template["Resources"]["Pipeline"]["Properties"]["DefinitionSubstitutions"]
    alarms = [template["Resources"][watching[name]["Ref"]]["Properties"] for name in names]
    assert {alarm["MetricName"] for alarm in alarms} == {"ServerErrors", "ModelMicroseconds"}
    for alarm in alarms:
        assert alarm["Namespace"] == "Kennel"
        assert alarm["Dimensions"] == [{"Name": "EndpointName", "Value": {"Ref": "EndpointName"}}]
    for name in ("CreateModel", "CreateModelInVpc"):
        model = machines["pipeline"]["States"][name]["Arguments"]["PrimaryContainer"]
        assert model["Environment"][telemetry.ENDPOINT_VARIABLE] == "{% $run.endpoint.name %}"
    rights = template["Resources"]["ServingRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (readable,) = (each["Resource"] for each in rights if each["Action"] == "cloudwatch:DescribeAlarms")
    found = [each["Fn::Sub"].partition(":alarm:")[2] for each in readable]
    assert sorted(found) == sorted(alarm["AlarmName"]["Fn::Sub"] for alarm in alarms)


def test_commands_make_the_alarms_of_the_template_again(template):
    """Plan names these commands when a hand has deleted the alarms."""
    resolver = Resolver(template)
    environment = template["Resources"]["PlanFunction"]["Properties"]["Environment"]["Variables"]
    settings = PlanSettings(**{name.lower(): resolver.resolve(value) for name, value in environment.items()})
    told = {}
    for name, command in stack.alarm_commands(settings).items():
        options, values = list(command), defaultdict(list)
        for word in options[3:]:
            if word.startswith("--"):
                option = word.removeprefix("--").title().replace("-", "")
            else:
                values[option].append(word)
        told[name] = dict(values)
    for logical_id in ("ModelErrorsAlarm", "ModelTimeAlarm"):
        alarm = resolver.resolve(template["Resources"][logical_id]["Properties"])
        wanted = {key: [str(value)] for key, value in alarm.items() if not isinstance(value, list)}
        wanted["Dimensions"] = [f"Name={each['Name']},Value={each['Value']}" for each in alarm["Dimensions"]]
        wanted["AlarmActions"] = alarm["AlarmActions"]
        # A person who made an alarm again still finds its paragraph; what the alarm means stands there.
        wanted["AlarmDescription"] = [f"Runbook: {alarm['AlarmDescription'].partition('Runbook: ')[2]}"]
        assert told[alarm["AlarmName"]] == wanted


def test_encrypted_traffic_between_instances_is_named_where_security_groups_are(template):
    """Groups that let TCP through alone make training hang: SageMaker encrypts with IPsec between several hosts."""
    described = template["Parameters"]["VpcSecurityGroups"]["Description"]
    page = (ROOT / "docs/aws.md").read_text().partition("## In subnets of your own")[2].partition("\n## ")[0]
    for text in (described, page):
        assert all(name in text for name in ("TCP", "UDP", "500", "50 (ESP)", "itself", "inbound", "outbound"))


def test_one_role_for_everything_is_told_every_service_that_must_be_trusted(template):
    """`sam deploy --guided` shows the description; a role that trusts less fails in the middle of a run."""
    # The roles of a training on EC2 exist beside roles of the stack's own only.
    kinds = [each for each in template["Resources"].values() if each["Type"] == "AWS::IAM::Role"]
    roles = [each["Properties"] for each in kinds if each["Condition"] != "HasEc2"]
    documents = [role["AssumeRolePolicyDocument"]["Statement"] for role in roles]
    trusted = {statement["Principal"]["Service"] for statements in documents for statement in statements}
    assert len(trusted) == 6
    described = template["Parameters"]["RoleArn"]["Description"]
    assert set(re.findall(r"[a-z]+\.amazonaws\.com", described)) == trusted
    page = (ROOT / "docs/aws.md").read_text().partition("## An account that lets nobody make roles")[2]
    sentence = page.partition("must trust")[2].partition("amazonaws.com")[0]
    assert set(re.findall(r"`([a-z]+)[`.]", sentence)) == {name.partition(".")[0] for name in trusted}


def test_photos_that_callers_put_into_the_bucket_end(template):
    rules = properties(template, "Bucket")["LifecycleConfiguration"]["Rules"]
    (rule,) = [rule for rule in rules if rule.get("Prefix") == UPLOADS]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 7)
