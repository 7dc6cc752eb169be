"""The state machines' policies allow what AWS asks about their tasks, and nothing that no task needs."""

import json
from fnmatch import fnmatchcase
from itertools import product

import botocore.session
import jsonata
import pytest
from botocore.validate import ParamValidator

from cloud.iam import permissions
from cloud.iam.permissions import Place
from plan.run import PlanSettings, decide
from plan.weights import Weights
from shared.contracts import Champion, Dataset, ImagePlan, Request
from shared.s3 import parse_uri
from tests.contract.conftest import states_of

PLACE = Place("us-east-1", "000000000000", lambda endpoint: f"{endpoint}-x")
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": PLACE.region,
    "AWS::AccountId": PLACE.account,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "kennel",
}
# ARN and name of a resource, by its type; {} is its logical id in small letters.
ARNS = {
    "AWS::CodeBuild::Project": PLACE.arn("codebuild", "project/{}"),
    "AWS::ECR::Repository": PLACE.arn("ecr", "repository/{}"),
    "AWS::IAM::Role": f"arn:aws:iam::{PLACE.account}:role/{{}}",
    "AWS::KMS::Key": PLACE.arn("kms", "key/{}"),
    "AWS::Logs::LogGroup": PLACE.arn("logs", "log-group:{}:*"),
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": PLACE.arn("sns", "{}"),
    "AWS::SageMaker::ModelPackageGroup": PLACE.arn("sagemaker", "model-package-group/{}"),
    "AWS::Serverless::Function": PLACE.arn("lambda", "function:{}"),
}
REF_IS_ARN = ("AWS::SNS::Topic", "AWS::SageMaker::ModelPackageGroup")
NAMES = ("FunctionName", "LogGroupName", "ModelPackageGroupName", "Name")

# Rights that AWS exercises without a task that asks for them.
AWS_ALONE = {
    "DeliverLogs": "Step Functions sets up the delivery of its own logs",
    "SendTraces": "Step Functions sends its own traces",
}
HOLDERS = [PLACE.arn("states", f"execution:kennel-{machine}:x") for machine in ("pipeline", "teardown")]
PACKAGE = PLACE.arn("sagemaker", "model-package/kennel/1")
# What tasks get as their input, by their state; the rest read nothing but variables and context.
INPUTS = {
    "DeleteEndpoint": ["kennel", "kennel-x-s"],
    "DeleteConfig": ["kennel-x"],
    "DeleteModel": ["kennel-x"],
    "DeletePackage": [PACKAGE],
    "RestorePolicy": [{"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/kennel/variant/main"}],
    "DeleteObjects": [{"keys": [{"Key": "runs/x/report/evaluation.json"}]}],
}


class Resolver:
    """The few intrinsic functions that policies and substitutions use, with the parameters' defaults."""

    def __init__(self, template):
        self.template = template

    def resolve(self, node):
        if isinstance(node, list):
            return [self.resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        match next(iter(node.items())):
            case "Ref", name:
                return self.ref(name)
            case "Fn::GetAtt", [name, "Arn"]:
                return self.arn(name)
            case "Fn::GetAtt", [name, "RepositoryUri"]:
                return f"{PLACE.account}.dkr.ecr.{PLACE.region}.amazonaws.com/{self.ref(name)}"
            case "Fn::Sub", text:
                return self.sub(text)
            case "Fn::If", [condition, yes, no]:
                return self.resolve(yes if self.holds(self.template["Conditions"][condition]) else no)
        return {key: self.resolve(value) for key, value in node.items()}

    def ref(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.template["Parameters"]:
            return str(self.template["Parameters"][name]["Default"])
        resource = self.template["Resources"][name]
        if resource["Type"] in REF_IS_ARN:
            return self.arn(name)
        given = [resource["Properties"][key] for key in NAMES if key in resource["Properties"]]
        return self.resolve(given[0]) if given else name.lower()

    def arn(self, name):
        kind, properties = self.template["Resources"][name]["Type"], self.template["Resources"][name]["Properties"]
        given = [properties[key] for key in NAMES if key in properties]
        return ARNS[kind].format(self.resolve(given[0]) if given else name.lower())

    def sub(self, text):
        while "${" in text:
            before, _, rest = text.partition("${")
            name, _, after = rest.partition("}")
            text = before + (self.arn(name.removesuffix(".Arn")) if name.endswith(".Arn") else self.ref(name)) + after
        return text

    def holds(self, condition):
        match next(iter(condition.items())):
            case "Fn::Equals", [left, right]:
                return self.resolve(left) == self.resolve(right)
            case "Fn::Not", [inner]:
                return not self.holds(inner)


def statements(template, name):
    """Of a role's own policies and of the stack's managed policies that it has."""
    found = template["Resources"][name]["Properties"]
    documents = [policy["PolicyDocument"] for policy in found["Policies"]]
    for managed in (each for each in found.get("ManagedPolicyArns", []) if "Ref" in each):  # the others are optional
        documents.append(template["Resources"][managed["Ref"]]["Properties"]["PolicyDocument"])
    for document in Resolver(template).resolve(documents):
        for statement in document["Statement"]:
            assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
            assert statement["Effect"] == "Allow"
            yield {**statement, "Action": listed(statement["Action"]), "Resource": listed(statement["Resource"])}


def listed(value):
    return value if isinstance(value, list) else [value]


def allows(statement, permission):
    for operator, wanted in statement.get("Condition", {}).items():
        assert operator in ("Bool", "StringEquals", "StringLike")
        for key, patterns in wanted.items():
            if not any(fnmatchcase(permission.context.get(key, ""), pattern) for pattern in listed(patterns)):
                return False
    fits = any(fnmatchcase(permission.resource, pattern) for pattern in statement["Resource"])
    return fits and permission.action in statement["Action"]


def sample_run(template):
    """A run as Plan decides it for this template, after an earlier one."""
    resolver = Resolver(template)
    environment = template["Resources"]["PlanFunction"]["Properties"]["Environment"]["Variables"]
    settings = PlanSettings(**{name.lower(): resolver.resolve(value) for name, value in environment.items()})
    place = f"s3://{settings.bucket}"
    found = Dataset(uri=f"{place}/datasets/x.zip", fingerprint="f", num_classes=2, counts={"train": 4}, ignored=0)
    repository = settings.image_repository
    images = ImagePlan(
        evaluate=f"{repository}:evaluate-x",
        serve=f"{repository}:serve-x",
        repository=repository,
        targets=["evaluate", "serve"],
        content_hash="x",
        context=f"{settings.bucket}/images/x.zip",
    )
    champion = Champion(
        run="r",
        artifact_uri=f"{place}/runs/r/artifact/model.tar.gz",
        model_package_arn=PACKAGE,
        instance_type=settings.serving_instance_type,
        top1=0.9,
    )
    weights = Weights(f"{place}/weights/x.pth", "etag")
    return decide(Request(), settings, "20261123-101500", found, f"{place}/code/x", weights, images, champion)


def evaluate(node, variables):
    if isinstance(node, str) and node.startswith("{%"):
        return jsonata.Jsonata(node[2:-2].strip()).evaluate(None, variables)
    if isinstance(node, dict):
        return {key: evaluate(value, variables) for key, value in node.items()}
    return [evaluate(item, variables) for item in node] if isinstance(node, list) else node


@pytest.fixture(scope="module", params=["Pipeline", "Teardown"])
def machine(request):
    return request.param


def requests(machine, machines, template, run):
    """What the machine's tasks ask in a run: (task, its resource, arguments)."""
    variables = {
        "run": run.model_dump(),
        "trained": {
            "job": "kennel-x-0",
            "model_uri": f"{run.training.output_uri}/kennel-x-0/output/model.tar.gz",
        },
        "verdict": {"reason": "better", "decision": "promote", "challenger_top1": 0.9},
        "packageArn": PACKAGE,
        "previousConfig": "kennel-before",
        "failure": {"state": "Train", "error": "States.TaskFailed", "cause": "no dogs"},
    }
    context = {"Execution": {"Id": HOLDERS[0], "Name": "x"}, "State": {"RetryCount": 0}}
    resolver = Resolver(template)
    text = json.dumps(machines[machine.lower()])
    for name, value in template["Resources"][machine]["Properties"]["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", resolver.resolve(value))
    states = dict(states_of(json.loads(text)))
    inputs = {**INPUTS, "Train": [evaluate(states.get("DescribeTraining", {}).get("Output"), variables)]}
    for name, state in states.items():
        if state["Type"] != "Task":
            continue
        for given, holder in product(inputs.get(name, [None]), HOLDERS):
            known = {**variables, "holder": holder, "states": {"context": context, "input": given}}
            yield name, state["Resource"], evaluate(state["Arguments"], known)


@pytest.fixture(scope="module")
def needed(machine, machines, template):
    """What AWS asks IAM about the machine's tasks: (task, permission)."""
    found = []
    for name, resource, arguments in requests(machine, machines, template, sample_run(template)):
        for permission in permissions.of_task(resource, arguments, PLACE):
            # The template encrypts its bucket and its topic with one key.
            uses = permissions.key_uses(permission, Resolver(template).arn("Key"))
            found += [(name, each) for each in (permission, *uses)]
    return found


def test_jobs_and_model_join_the_network_that_the_run_names(machines, template):
    vpc = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    run = sample_run(template).model_copy(update={"network": {"VpcConfig": vpc}})
    found = {name: arguments for name, _, arguments in requests("Pipeline", machines, template, run)}
    joined = [found["Train"], found["Evaluate"]["NetworkConfig"], found["CreateModel"]]
    assert [each["VpcConfig"] for each in joined] == [vpc] * 3
    assert all(each["EnableNetworkIsolation"] for each in joined)
    model = botocore.session.get_session().get_service_model("sagemaker")
    for task, operation in (("Train", "TrainingJob"), ("Evaluate", "ProcessingJob"), ("CreateModel", "Model")):
        shape = model.operation_model(f"Create{operation}").input_shape
        assert ParamValidator().validate(found[task], shape).generate_report() == ""


def test_every_task_is_allowed_by_the_machines_role(machine, needed, template):
    granted = list(statements(template, f"{machine}Role"))
    assert len(needed) > 20
    denied = [(task, each) for task, each in needed if not any(allows(statement, each) for statement in granted)]
    assert denied == []


def test_every_action_and_resource_is_needed_by_some_task(machine, needed, template):
    asked = [permission for _, permission in needed]
    idle = []
    for statement in statements(template, f"{machine}Role"):
        if statement["Sid"] in AWS_ALONE:
            continue
        used = [permission for permission in asked if allows(statement, permission)]
        idle += [(statement["Sid"], action) for action in statement["Action"] if action not in {u.action for u in used}]
        idle += [
            (statement["Sid"], pattern)
            for pattern in statement["Resource"]
            if not any(fnmatchcase(permission.resource, pattern) for permission in used)
        ]
    assert idle == []


def test_training_is_looked_up_and_written_where_the_run_says(template):
    """Plan by the names and places that it decides itself, the job at the places that it is given."""
    training = sample_run(template).training
    job, (bucket, prefix) = f"{training.job_name}-0", parse_uri(training.output_uri)
    asked = {
        "PlanFunctionRole": [
            *permissions.of_operation("s3", "ListObjectsV2", {"Bucket": bucket, "Prefix": prefix}, PLACE),
            *permissions.of_operation("sagemaker", "DescribeTrainingJob", {"TrainingJobName": job}, PLACE),
        ],
        "TrainingRole": [
            permissions.write(f"{training.output_uri}/{job}/output/model.tar.gz"),
            permissions.write(f"{training.checkpoint_uri}/head.pt"),
            permissions.delete(f"{training.checkpoint_uri}/head.pt"),
        ],
    }
    for who, needed in asked.items():
        granted = list(statements(template, who))
        assert [each for each in needed if not any(allows(statement, each) for statement in granted)] == []


def test_rights_that_aws_alone_exercises_are_in_the_template(template):
    given = {statement["Sid"] for role in ("PipelineRole", "TeardownRole") for statement in statements(template, role)}
    assert set(AWS_ALONE) <= given
