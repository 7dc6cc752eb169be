"""The policies of the state machines allow what their tasks need, and nothing else."""

import json
from fnmatch import fnmatchcase
from itertools import chain, product

import botocore.session
import pytest
from botocore.validate import ParamValidator

from cloud.iam import permissions
from cloud.iam.permissions import RequestScope
from cloud.stepfunctions import expressions
from plan import ec2
from plan.run import PlanSettings, decide
from plan.weights import Weights
from shared.contracts import Dataset, ImageBuild, ImagePlan, RegisteredChampion, Request
from shared.s3 import parse_uri
from shared.tuning import Tune
from tests.contract.conftest import states_of

SCOPE = RequestScope("us-east-1", "000000000000", lambda endpoint: f"{endpoint}-x")
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": SCOPE.region,
    "AWS::AccountId": SCOPE.account,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "kennel",
    "AWS::NoValue": "",
}
# ARN of a resource by its type. {} stands for its name, or for its logical id in lower case.
ARNS = {
    "AWS::Batch::JobQueue": SCOPE.arn("batch", "job-queue/{}"),
    "AWS::CodeBuild::Project": SCOPE.arn("codebuild", "project/{}"),
    "AWS::ECR::Repository": SCOPE.arn("ecr", "repository/{}"),
    "AWS::Events::Rule": SCOPE.arn("events", "rule/{}"),
    "AWS::IAM::Role": f"arn:aws:iam::{SCOPE.account}:role/{{}}",
    "AWS::KMS::Key": SCOPE.arn("kms", "key/{}"),
    "AWS::Logs::LogGroup": SCOPE.arn("logs", "log-group:{}:*"),
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": SCOPE.arn("sns", "{}"),
    "AWS::SageMaker::ModelPackageGroup": SCOPE.arn("sagemaker", "model-package-group/{}"),
    "AWS::Serverless::Function": SCOPE.arn("lambda", "function:{}"),
}
REF_IS_ARN = ("AWS::Batch::JobQueue", "AWS::SNS::Topic", "AWS::SageMaker::ModelPackageGroup")
# Parameters that are not left at their defaults: a stack that can train on EC2.
PARAMETERS = {"Ec2Subnets": "subnet-1", "Ec2SecurityGroups": "sg-1"}
NAMES = ("FunctionName", "LogGroupName", "ModelPackageGroupName", "Name")

# Rights that AWS uses without a task.
AWS_ALONE = {
    "DeliverLogs": "Step Functions sets up the delivery of its own logs",
    "SendTraces": "Step Functions sends its own traces",
    "SeeTheKeyOfVolumes": "SageMaker may look at the key of an endpoint's volumes with the rights of its caller",
    "NameTheFunctionOfTheUrl": "Lambda may compare the function and not the alias that the request names",
}
HOLDERS = [SCOPE.arn("states", f"execution:kennel-{machine}:x") for machine in ("pipeline", "teardown")]
PACKAGE = SCOPE.arn("sagemaker", "model-package/kennel/1")
IMAGE = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel-images@sha256:{'0' * 64}"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/kennel/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
# The policies of a champion as the function `remember` returns them.
TRACKING_POLICY = {
    **TARGET,
    "PolicyName": "kennel-concurrency",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 4.0,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        },
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 60,
    },
}
STEP_POLICY = {
    **TARGET,
    "PolicyName": "kennel-burst",
    "PolicyType": "StepScaling",
    "StepScalingPolicyConfiguration": {
        "AdjustmentType": "PercentChangeInCapacity",
        "MetricAggregationType": "Maximum",
        "Cooldown": 60,
        "MinAdjustmentMagnitude": 1,
        "StepAdjustments": [
            {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 8.0, "ScalingAdjustment": 100},
            {"MetricIntervalLowerBound": 8.0, "ScalingAdjustment": 300},
        ],
    },
}
# The input of a task by its state. The other states read only variables and the context.
DEFINITION = SCOPE.arn("batch", "job-definition/kennel-x-ec2:1")
QUEUE = SCOPE.arn("batch", "job-queue/ec2spotqueue")
INPUTS = {
    "DefineEc2Job": [{"image": IMAGE}],
    "TrainOnEc2": [{"definition": DEFINITION}],
    "ForgetEc2Job": [{"definition": DEFINITION}],
    "ReadEc2Failure": [{"definition": DEFINITION, "ended": {"JobName": "kennel-x-ec2", "StatusReason": "no dogs"}}],
    "ListEc2Trainings": [QUEUE],
    "FindTrainingsOfQueue": [QUEUE],
    "StopEc2Training": ["0f1e2d3c-0000-4000-8000-000000000000"],
    "EndOneEc2Job": ["0f1e2d3c-0000-4000-8000-000000000000"],
    "ForgetFailedEc2Job": [{"definition": DEFINITION, "reason": "no dogs"}],
    "PinModel": [{"job": "kennel-x", "model_uri": "s3://kennel-x/training/0123/kennel-x/output/model.tar.gz"}],
    "Train": [{"image": IMAGE}],
    "TrainInVpc": [{"image": IMAGE}],
    "StopTraining": ["kennel-x"],
    "StopOneSearch": ["kennel-x"],
    "DeleteEndpoint": ["kennel", "kennel-x-s"],
    "DeleteConfig": ["kennel-x"],
    "DeleteModel": ["kennel-x"],
    "DeletePackage": [PACKAGE],
    "RestoreStepPolicy": [STEP_POLICY],
    "RestoreTrackingPolicy": [TRACKING_POLICY],
    "DeleteObjects": [{"keys": [{"Key": "runs/x/report/evaluation.json", "VersionId": "v1"}]}],
}


class Resolver:
    """Resolves the intrinsic functions of policies and substitutions with the defaults of the parameters."""

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
                return f"{SCOPE.account}.dkr.ecr.{SCOPE.region}.amazonaws.com/{self.ref(name)}"
            case "Fn::Sub", [text, values]:
                for key, value in values.items():
                    text = text.replace(f"${{{key}}}", self.resolve(value))
                return self.sub(text)
            case "Fn::Sub", text:
                return self.sub(text)
            case "Fn::Join", [separator, values]:
                return separator.join(listed(self.resolve(values)))
            case "Fn::If", [condition, yes, no]:
                return self.resolve(yes if self.holds(self.template["Conditions"][condition]) else no)
        return {key: self.resolve(value) for key, value in node.items()}

    def ref(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.template["Parameters"]:
            return PARAMETERS.get(name, str(self.template["Parameters"][name]["Default"]))
        resource = self.template["Resources"][name]
        if resource["Type"] in REF_IS_ARN:
            return self.arn(name)
        names = [resource["Properties"][key] for key in NAMES if key in resource["Properties"]]
        return (self.resolve(names[0]) if names else "") or name.lower()

    def arn(self, name):
        kind, properties = self.template["Resources"][name]["Type"], self.template["Resources"][name]["Properties"]
        names = [properties[key] for key in NAMES if key in properties]
        return ARNS[kind].format(self.resolve(names[0]) if names else name.lower())

    def sub(self, text):
        while "${" in text:
            before, _, rest = text.partition("${")
            name, _, after = rest.partition("}")
            text = before + (self.arn(name.removesuffix(".Arn")) if name.endswith(".Arn") else self.ref(name)) + after
        return text

    def holds(self, condition):
        match next(iter(condition.items())):
            case "Fn::Equals", [left, right]:
                return str(self.resolve(left)) == str(self.resolve(right))  # CloudFormation compares texts.
            case "Fn::Not", [inner]:
                return not self.holds(inner)
            case "Fn::And", conditions:
                return all(self.holds(each) for each in conditions)
            case "Condition", name:
                return self.holds(self.template["Conditions"][name])


def statements(template, name):
    """Yield the statements of a role: of its own policies and of the stack's managed policies."""
    properties = template["Resources"][name]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties["Policies"]]
    for managed in properties.get("ManagedPolicyArns", []):
        if "Fn::If" in managed:
            condition, managed, _ = managed["Fn::If"]
            if not Resolver(template).holds(template["Conditions"][condition]):
                continue
        documents.append(template["Resources"][managed["Ref"]]["Properties"]["PolicyDocument"])
    for document in Resolver(template).resolve(documents):
        for statement in document["Statement"]:
            assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
            assert statement["Effect"] == "Allow"
            yield {**statement, "Action": listed(statement["Action"]), "Resource": listed(statement["Resource"])}


OPERATORS = {"Bool", "StringEquals", "StringLike", "ForAllValues:StringLike", "ArnEquals", "ArnEqualsIfExists"}


def listed(value):
    return value if isinstance(value, list) else [value]


def allows(statement, permission):
    for operator, condition in statement.get("Condition", {}).items():
        for key, patterns in condition.items():
            values = listed(permission.context.get(key, []))
            if operator == "Null":
                met = listed(patterns) == ["true" if not values else "false"]
            else:
                assert operator in OPERATORS
                fitting = [any(fnmatchcase(value, pattern) for pattern in listed(patterns)) for value in values]
                met = all(fitting) and (bool(values) or operator.startswith("ForAllValues:") or "IfExists" in operator)
            if not met:
                return False
    fits = any(fnmatchcase(permission.resource, pattern) for pattern in statement["Resource"])
    return fits and permission.action in statement["Action"]


def sample_run(template):
    """Return a run that Plan decides for this template, with a champion from an earlier run."""
    resolver = Resolver(template)
    environment = template["Resources"]["PlanFunction"]["Properties"]["Environment"]["Variables"]
    settings = PlanSettings(**{name.lower(): resolver.resolve(value) for name, value in environment.items()})
    bucket_uri = f"s3://{settings.bucket}"
    dataset = Dataset(
        uri=f"{bucket_uri}/datasets/x.zip",
        fingerprint="f",
        num_classes=2,
        counts={"train": 4, "valid": 2},
        made_splits="",
        left_out=[],
        unreadable=[],
        not_compared=0,
        reading="",
        listing=f"{bucket_uri}/runs/x/photos.json",
    )
    repository = settings.image_repository
    images = ImagePlan(
        train=f"{repository}@sha256:{'0' * 64}",
        train_content="x",
        evaluate=f"{repository}:evaluate-x",
        serve=f"{repository}:serve-x",
        repository=repository,
        base=f"python:3.11@sha256:{'0' * 64}",
        training_build=ImageBuild(targets=["train"], content_hash="x"),
        serving_build=ImageBuild(targets=["evaluate", "serve"], content_hash="x"),
        context=f"{settings.bucket}/images/x.zip",
        context_version="v1",
    )
    champion = RegisteredChampion(
        run="r",
        artifact_uri=f"{bucket_uri}/runs/r/artifact/model.tar.gz",
        model_package_arn=PACKAGE,
        instance_type=settings.serving_instance_type,
        top1=0.9,
    )
    weights = Weights(f"{bucket_uri}/weights/x.pth", "etag")
    # The search by jobs of their own uses states that a run without it does not enter.
    searching = Request(tune=Tune(where="jobs"))
    run = decide(searching, settings, "20261123-101500", dataset, weights, images, champion)
    # A run trains on SageMaker or on EC2. The sample has what the states of both read.
    request, queues = Request(train_on="ec2"), (settings.ec2_spot_queue, settings.ec2_on_demand_queue)
    on_ec2 = ec2.plan(request, settings.training_instance_type, *queues)
    return run.model_copy(update={"training": run.training.model_copy(update={"ec2": on_ec2})})


def sample_variables(run):
    """Return the variables that a run has when its last states begin.

    Args:
        run: The run that Plan decided.
    """
    return {
        "run": run.model_dump(mode="json"),
        "trained": {
            "job": "kennel-x",
            "model_uri": f"{run.training.output_uri}/kennel-x/output/model.tar.gz",
            "etag": '"12ab"',
            "version_id": "v1",
        },
        "exitMessage": json.dumps({"report_sha256": 64 * "b"}),
        "verdict": {
            "reason": "better",
            "decision": "promote",
            "challenger_top1": 0.9,
            "manifest": 64 * "a",
            "report": 64 * "b",
        },
        "scaling": {
            "measurement_sha256": "0" * 64,
            "target_value": 3,
            "burst_value": 6,
            "scale_in_cooldown": 300,
            "scale_out_cooldown": 300,
        },
        "hosting": "function",
        "hostingBefore": "instances",
        "watched": "hosting",
        "hasOldHosting": True,
        "versionBefore": "1",
        "functionVersion": "2",
        "functionNote": "all requests went to version 2 at once",
        "functionQualifier": "2",
        "artifactVersion": "v1",
        "functionMeasurement": {"measurement_sha256": "1" * 64, "memory_mb": 1769},
        "measurementRefusal": "",
        "servedBy": {"version": "2", "memory_mb": "1769"},
        "provisionedBefore": 0,
        "provisionedMax": 2,
        "packageArn": PACKAGE,
        "burstPolicyArn": "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:x:policyName/burst",
        "startSeconds": 120.5,
        "capacityBefore": 2,
        "rangeBefore": [{"MinCapacity": 1, "MaxCapacity": 2}],
        "burstBefore": 6,
        "previousConfig": "kennel-before",
        "typeBefore": "ml.c7i.large",
        "abandoned": HOLDERS[0],
        "status": "ABORTED",
        "gone": 1764500000000,
        "updateSeconds": 4500,
        "maxInstances": 2,
        "failure": {"state": "Train", "error": "States.TaskFailed", "cause": "no dogs"},
        "holder": HOLDERS[0],
        "search": {
            "job_name": run.tuning.job_name,
            "strategy": "Bayesian",
            "trials": run.tuning.trials,
            "parameter_ranges": {
                **run.tuning.parameter_ranges,
                "CategoricalParameterRanges": [{"Name": "candidate", "Values": ["{}"]}],
            },
            "static": {"epochs": "3"},
            "early_stopping": "Auto",
        },
        "trainingImage": IMAGE,
        "receipt": {"text": "This run cost $0.04."},
        "images": {"evaluate": IMAGE, "serve": IMAGE},
        "hyperparameters": {"epochs": "3"},
    }


def evaluate(node, variables):
    if isinstance(node, str) and node.startswith("{%"):
        try:
            return expressions.evaluate(node[2:-2].strip(), variables, variables.get("states", {}))
        except expressions.ExpressionError as error:
            if error.kind == "undefined":  # No permission depends on the variables that are not given here.
                return None
            raise
    if isinstance(node, dict):
        return {key: evaluate(value, variables) for key, value in node.items()}
    return [evaluate(item, variables) for item in node] if isinstance(node, list) else node


@pytest.fixture(scope="module", params=["Pipeline", "Teardown"])
def machine(request):
    return request.param


def requests(machine, machines, template, run):
    """Yield the requests of the machine's tasks in a run: (task, its resource, arguments)."""
    variables = sample_variables(run)
    context = {"Execution": {"Id": HOLDERS[0], "Name": "x"}, "State": {"RetryCount": 0}}
    resolver = Resolver(template)
    text = json.dumps(machines[machine.lower()])
    for name, value in template["Resources"][machine]["Properties"]["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", resolver.resolve(value))
    states = dict(states_of(json.loads(text)))
    for name, state in states.items():
        if state["Type"] != "Task":
            continue
        for task_input, holder in product(INPUTS.get(name, [None]), HOLDERS):
            scope = {**variables, "holder": holder, "states": {"context": context, "input": task_input}}
            yield name, state["Resource"], evaluate(state["Arguments"], scope)


@pytest.fixture(scope="module")
def needed(machine, machines, template):
    """Return the permissions that the machine's tasks need: (task, permission)."""
    pairs = []
    run = sample_run(template)
    queue = Resolver(template).arn("Ec2OnDemandQueue")
    on_demand = run.training.model_copy(update={"ec2": run.training.ec2.model_copy(update={"queue": queue})})
    runs = [run, run.model_copy(update={"training": on_demand})]
    for name, resource, arguments in chain.from_iterable(requests(machine, machines, template, each) for each in runs):
        for permission in permissions.for_task(resource, arguments, SCOPE):
            # The template encrypts its bucket and its topic with one key.
            uses = permissions.key_uses(permission, Resolver(template).arn("Key"))
            pairs += [(name, each) for each in (permission, *uses)]
    return pairs


def test_jobs_and_model_join_the_network_that_the_run_names(machines, template):
    vpc = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    run = sample_run(template).model_copy(update={"network": {"VpcConfig": vpc}})
    arguments_of = {name: arguments for name, _, arguments in requests("Pipeline", machines, template, run)}
    search = arguments_of["SearchInVpc"]["TrainingJobDefinition"]
    joined = [arguments_of["TrainInVpc"], search, arguments_of["Evaluate"]["NetworkConfig"]]
    joined.append(arguments_of["CreateModelInVpc"])
    assert [each["VpcConfig"] for each in joined] == [vpc] * 4
    assert all(each["EnableNetworkIsolation"] for each in joined)
    model = botocore.session.get_session().get_service_model("sagemaker")
    for task, operation in (
        ("TrainInVpc", "TrainingJob"),
        ("SearchInVpc", "HyperParameterTuningJob"),
        ("Evaluate", "ProcessingJob"),
        ("CreateModelInVpc", "Model"),
    ):
        shape = model.operation_model(f"Create{operation}").input_shape
        assert ParamValidator().validate(arguments_of[task], shape).generate_report() == ""


def test_every_task_is_allowed_by_the_machines_role(machine, needed, template):
    granted = list(statements(template, f"{machine}Role"))
    assert len(needed) > 20
    denied = [(task, each) for task, each in needed if not any(allows(statement, each) for statement in granted)]
    assert denied == []


def test_every_action_and_resource_is_needed_by_some_task(machine, needed, template):
    permissions_needed = [permission for _, permission in needed]
    unused = []
    for statement in statements(template, f"{machine}Role"):
        if statement["Sid"] in AWS_ALONE:
            continue
        used = [permission for permission in permissions_needed if allows(statement, permission)]
        unused += [
            (statement["Sid"], action) for action in statement["Action"] if action not in {u.action for u in used}
        ]
        unused += [
            (statement["Sid"], pattern)
            for pattern in statement["Resource"]
            if not any(fnmatchcase(permission.resource, pattern) for permission in used)
        ]
    assert unused == []


def test_roles_of_plan_and_training_fit_the_locations_of_the_run(template):
    """Plan looks for earlier jobs by the names that it decides, and the job writes to the locations in its request."""
    run = sample_run(template)
    training, repository = run.training, run.images.repository.partition("/")[2]
    job, (bucket, prefix) = training.job_name, parse_uri(training.output_uri)
    permissions_of_roles = {
        "PlanFunctionRole": [
            *permissions.for_operation("s3", "ListObjectsV2", {"Bucket": bucket, "Prefix": prefix}, SCOPE),
            *permissions.for_operation("sagemaker", "DescribeTrainingJob", {"TrainingJobName": job}, SCOPE),
            *permissions.for_operation("sagemaker", "StopTrainingJob", {"TrainingJobName": job}, SCOPE),
            *permissions.for_operation("batch", "ListJobs", {"jobQueue": QUEUE}, SCOPE),
            *permissions.for_operation("batch", "TerminateJob", {"jobId": "0f1e2d3c"}, SCOPE),
            *permissions.for_operation("ecr", "BatchGetImage", {"RepositoryName": repository}, SCOPE),
            *permissions.for_operation("sagemaker", "ListEndpoints", {}, SCOPE),
            *permissions.for_operation("sagemaker", "DescribeEndpoint", {"EndpointName": "another"}, SCOPE),
            *permissions.for_operation("servicequotas", "GetServiceQuota", {}, SCOPE),
            *permissions.for_operation("servicequotas", "GetAWSDefaultServiceQuota", {}, SCOPE),
            *permissions.for_operation("servicequotas", "ListServiceQuotas", {}, SCOPE),
        ],
        "TrainingRole": [
            permissions.write(f"{training.output_uri}/{job}/output/model.tar.gz"),
            permissions.write(f"{run.tuning.checkpoint_uri}/{job}/head.pt"),
            permissions.write(f"{training.checkpoint_uri}/head.pt"),
            permissions.delete(f"{training.checkpoint_uri}/head.pt"),
        ],
        "ReceiptFunctionRole": [
            *permissions.for_operation("sagemaker", "DescribeTrainingJob", {"TrainingJobName": job}, SCOPE),
            *permissions.for_operation(
                "sagemaker", "DescribeProcessingJob", {"ProcessingJobName": f"{run.evaluation.job_name}-0"}, SCOPE
            ),
            *permissions.for_operation("sagemaker", "DescribeEndpoint", {"EndpointName": run.endpoint.name}, SCOPE),
            *permissions.for_operation(
                "sagemaker", "DescribeEndpointConfig", {"EndpointConfigName": run.endpoint.config_name}, SCOPE
            ),
            *permissions.for_operation("sagemaker", "ListTrainingJobsForHyperParameterTuningJob", {}, SCOPE),
            *permissions.for_operation("batch", "DescribeJobs", {"jobs": ["0f1e2d3c"]}, SCOPE),
            permissions.listing(bucket, f"runs/{run.id}/"),
            permissions.listing(bucket, f"{prefix}/{job}/"),
            permissions.Permission("ecr:DescribeImages", Resolver(template).arn("Images")),
            permissions.write(f"s3://{bucket}/runs/{run.id}/receipt.json"),
            permissions.Permission("states:GetExecutionHistory", HOLDERS[0]),
        ],
    }
    for role, needed in permissions_of_roles.items():
        granted = list(statements(template, role))
        assert [each for each in needed if not any(allows(statement, each) for statement in granted)] == []


def test_rights_that_aws_uses_without_a_task_are_in_the_template(template):
    sids = {statement["Sid"] for role in ("PipelineRole", "TeardownRole") for statement in statements(template, role)}
    assert set(AWS_ALONE) <= sids


@pytest.mark.parametrize("role", ["PipelineRole", "ServingRole"])
def test_caller_and_endpoint_may_both_have_volumes_encrypted(template, role):
    """AWS's pages name the caller and the role of the model, so both have the rights that hosting may ask for."""
    key, granted = Resolver(template).arn("Key"), list(statements(template, role))
    for permission in (*permissions.encrypt_volumes(key), permissions.Permission("kms:DescribeKey", key)):
        assert any(allows(statement, permission) for statement in granted), permission
    unconditional = permissions.Permission("kms:CreateGrant", key)
    assert not any(allows(statement, unconditional) for statement in granted)


def test_whoever_registers_a_scalable_target_has_the_rights_that_the_service_uses(template):
    """Application Auto Scaling acts with the rights of its caller, also where the target is registered already."""
    request = {**TARGET, "ResourceId": "endpoint/kennel/variant/main", "MinCapacity": 1, "MaxCapacity": 1}
    needed = {each.action for each in permissions._of_scaling("RegisterScalableTarget", request, SCOPE)}
    holders = set()
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        for owner in (properties, *properties.get("Policies", [])):
            statements = owner.get("PolicyDocument", {}).get("Statement", []) if isinstance(owner, dict) else []
            listed = [each["Action"] for each in statements if each["Effect"] == "Allow" and "Action" in each]
            actions = {action for each in listed for action in (each if isinstance(each, list) else [each])}
            if "application-autoscaling:RegisterScalableTarget" in actions:
                assert needed <= actions, f"{name} lacks {needed - actions}"
                holders.add(name)
    assert {"PipelineRole", "RestoreFunctionRole", "MeterFunctionRole"} <= holders
