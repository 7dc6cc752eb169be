"""The bucket: who may write what is run, judged and served; for how long old versions stay; what each role may read."""

import json
from fnmatch import fnmatchcase

import pytest

from cloud.iam import hooks
from cloud.iam.hooks import Decision
from tests.contract import test_permissions
from tests.contract.test_permissions import SCOPE, Resolver, listed, statements

BUCKET = "arn:aws:s3:::bucket"
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [BUCKET, f"{BUCKET}/*"]}]}
WRITES = ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ReplicateObject", "s3:ReplicateDelete")
# By what the stack makes: the roles that make it.
MAKERS = {
    "code/0/train.py": set(),
    "images/0.zip": {"PlanFunctionRole"},
    "weights/net-0.pth": {"PlanFunctionRole"},
    "training/0/job/output/model.tar.gz": {"TrainingRole", "Ec2JobRole"},
    "training/0/tuned.json": {"RankFunctionRole"},
    "checkpoints/net/features": {"TrainingRole", "Ec2JobRole"},
    "runs/0/artifact/model.tar.gz": {"EvaluationRole"},
    "runs/0/report/evaluation.json": {"EvaluationRole"},
    "runs/0/before.json": {"RememberFunctionRole"},
    "runs/0/photos.json": {"PlanFunctionRole"},
    "runs/0/receipt.json": {"ReceiptFunctionRole"},
    "measurements/0.json": {"MeasureFunctionRole"},
}
OTHERS = ("dataset/train/001.Beagle/1.jpg", "datasets/dogs.zip", "TrainedModels/model.pth", "uploads/rex.jpg", "x")


@pytest.fixture(autouse=True)
def principals_as_on_aws(monkeypatch):
    monkeypatch.setattr(hooks.iam_evaluator, "_resolve_condition_key", hooks.iam_evaluator._resolve_condition_key)
    hooks.resolve_keys_as_aws()


def own_policy(template, monkeypatch, **parameters):
    monkeypatch.setattr(test_permissions, "PARAMETERS", test_permissions.PARAMETERS | parameters)
    document = Resolver(template).resolve(template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"])
    text = json.dumps(document)  # What resolves to nothing is left out, as CloudFormation does with AWS::NoValue.
    return json.loads(text.replace('"", ', "").replace(', ""', "").replace('[""]', "[]"))


def session(role):
    return f"arn:aws:sts::{SCOPE.account}:assumed-role/{role}/s"


def may(policy, principal, action, key):
    return hooks.permits(Decision(principal, action, f"{BUCKET}/{key}", {}, False, ""), [EVERYTHING], policy)


@pytest.mark.parametrize("key", MAKERS)
@pytest.mark.parametrize("action", WRITES)
def test_a_foreign_principal_with_every_right_on_the_bucket_writes_no_prefix_of_the_stack(
    template, monkeypatch, key, action
):
    policy = own_policy(template, monkeypatch)
    strangers = [session("admin"), f"arn:aws:iam::{SCOPE.account}:user/uploader", f"arn:aws:iam::{SCOPE.account}:root"]
    strangers.append(session("trainingrole-of-somebody-else"))
    assert [each for each in strangers if may(policy, each, action, key)] == []
    for role in (*MAKERS[key], "TeardownRole"):
        assert may(policy, session(role.lower()), action, key)
    everybody = set().union(*MAKERS.values())
    prefix = key.partition("/")[0]
    same_prefix = set().union(*(makers for other, makers in MAKERS.items() if other.startswith(f"{prefix}/")))
    if prefix in ("code", "images", "weights"):
        same_prefix = {"PlanFunctionRole"}
    refused = {role for role in everybody if not may(policy, session(role.lower()), action, key)}
    assert refused == everybody - same_prefix


@pytest.mark.parametrize("key", OTHERS)
def test_what_people_bring_may_be_written_by_whom_the_account_lets(template, monkeypatch, key):
    policy = own_policy(template, monkeypatch)
    assert all(may(policy, session("uploader"), action, key) for action in WRITES)
    assert may(policy, session("uploader"), "s3:GetObject", "runs/0/card.html")


def test_every_prefix_that_a_role_writes_is_one_of_the_policys(template):
    """A new prefix needs a maker in the bucket's policy, or a reason to be everybody's."""
    written = set()
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role" and name != "TeardownRole":
            for statement in resource["Properties"].get("Policies", []):
                for each in statement["PolicyDocument"]["Statement"]:
                    if set(listed(each["Action"])) & set(WRITES):
                        written |= {
                            text["Fn::Sub"].removeprefix("${Bucket.Arn}/").partition("/")[0]
                            for text in listed(each["Resource"])
                        }
    # People bring models below TrainedModels/, too; a run takes one only if a request names it.
    assert written - {"TrainedModels"} == {key.partition("/")[0] for key in MAKERS} - {"code"}


def test_roles_write_only_what_they_make(template):
    for role in ("PlanFunctionRole", "TrainingRole", "Ec2JobRole", "EvaluationRole", "RankFunctionRole"):
        patterns = [
            pattern
            for statement in statements(template, role)
            if "s3:PutObject" in statement["Action"]
            for pattern in statement["Resource"]
        ]
        made = {key for key in MAKERS if any(fnmatchcase(f"{BUCKET}/{key}", pattern) for pattern in patterns)}
        extra = made - {key for key, makers in MAKERS.items() if role in makers}
        assert extra <= {"training/0/tuned.json"}, role  # A training may write all below training/.


def test_an_administrator_may_be_named_who_puts_a_file_back(template, monkeypatch):
    policy = own_policy(template, monkeypatch, BucketAdministrator=f"arn:aws:iam::{SCOPE.account}:role/*admin*")
    for key in MAKERS:
        assert may(policy, session("the-admin"), "s3:PutObject", key)
        assert not may(policy, session("somebody"), "s3:PutObject", key)


def test_with_one_role_for_everything_that_role_alone_writes(template, monkeypatch):
    one = f"arn:aws:iam::{SCOPE.account}:role/lab"
    policy = own_policy(template, monkeypatch, RoleArn=one, Ec2Subnets="", Ec2SecurityGroups="")
    for key in MAKERS:
        assert may(policy, session("lab"), "s3:PutObject", key)
        assert not may(policy, session("api"), "s3:PutObject", key)
    output = template["Outputs"]["OneRoleForEverything"]
    assert output["Condition"] == "OneRole"
    assert all("RoleArn" in text for text in output["Value"]["Fn::If"][1:])
    role = template["Resources"]["ClassifyFunction"]["Properties"]["Role"]
    assert Resolver(template).resolve(role) == one
    monkeypatch.setitem(test_permissions.PARAMETERS, "ApiRoleArn", one.replace("lab", "api"))
    assert Resolver(template).resolve(role) == one.replace("lab", "api")


def test_old_versions_end_soon_and_those_of_checkpoints_at_once(template):
    properties = template["Resources"]["Bucket"]["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    old, checkpoints = rules["old-versions"], rules["old-checkpoints"]
    assert old["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "OldVersionDays"}}
    assert "Prefix" not in old
    assert (checkpoints["Prefix"], checkpoints["NoncurrentVersionExpiration"]) == (
        "checkpoints/",
        {"NoncurrentDays": 1},
    )
    assert rules["markers-without-versions"]["ExpiredObjectDeleteMarker"] is True
    parameter = template["Parameters"]["OldVersionDays"]
    assert (parameter["Default"], parameter["MinValue"]) == (14, 1)


READERS = {
    "TrainingRole": {"weights/*", "checkpoints/*", "dataset*", "TrainedModels/*"},
    "Ec2JobRole": {"weights/*", "checkpoints/*", "dataset*", "TrainedModels/*"},
    "EvaluationRole": {"training/*", "runs/*/artifact/model.tar.gz", "dataset*", "TrainedModels/*"},
    "PlanFunctionRole": {"weights/*", "images/*", "runs/*", "dataset*", "TrainedModels/*"},
    "ClassifyFunctionRole": {"uploads/*"},
}


@pytest.mark.parametrize("role", READERS)
def test_a_role_reads_only_the_prefixes_that_it_needs(template, role):
    reads = [each for each in statements(template, role) if "s3:GetObject" in each["Action"]]
    prefixes = {pattern.removeprefix(f"{BUCKET}/") for each in reads for pattern in each["Resource"]}
    assert prefixes == READERS[role]


def test_every_role_has_the_boundary_of_the_parameter(template):
    roles = [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::IAM::Role"]
    wanted = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert len(roles) >= 19
    assert [role for role in roles if role.get("PermissionsBoundary") != wanted] == []
