"""AWS's managed policies: those that the laptop cloud has give their rights, and no other can be attached."""

import json
import uuid

import pytest

from tests.integration.laptop import Cloud, eventually


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:6]}"


UNKNOWN = "arn:aws:iam::aws:policy/NoSuchPolicyAtAll"


def test_a_policy_that_is_not_here_cannot_be_attached_or_bound_to(cloud: Cloud) -> None:
    iam, name = cloud.client("iam"), unique("attached")
    cloud.make_role(name, {"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"})
    iam.create_user(UserName=name)
    iam.create_group(GroupName=name)
    for arn, hint in (
        (UNKNOWN, "on the laptop cloud, which has few of AWS's own policies"),
        ("arn:aws:iam::000000000000:policy/nobodys", "attachable."),
    ):
        for attach in (
            lambda arn=arn: iam.attach_role_policy(RoleName=name, PolicyArn=arn),
            lambda arn=arn: iam.attach_user_policy(UserName=name, PolicyArn=arn),
            lambda arn=arn: iam.attach_group_policy(GroupName=name, PolicyArn=arn),
        ):
            with pytest.raises(iam.exceptions.NoSuchEntityException, match=f"Policy {arn} does not exist.*{hint}"):
                attach()
        for refused in (
            lambda arn=arn: iam.get_policy(PolicyArn=arn),
            lambda arn=arn: iam.detach_role_policy(RoleName=name, PolicyArn=arn),
            lambda arn=arn: iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=arn),
            lambda arn=arn: iam.create_role(RoleName="x", AssumeRolePolicyDocument="{}", PermissionsBoundary=arn),
        ):
            with pytest.raises(iam.exceptions.NoSuchEntityException):
                refused()


def test_a_template_cannot_attach_a_policy_that_is_not_here(cloud: Cloud) -> None:
    formation, name = cloud.client("cloudformation"), unique("attaching")
    trust = {"Version": "2012-10-17", "Statement": []}
    properties = {"AssumeRolePolicyDocument": trust, "ManagedPolicyArns": [UNKNOWN]}
    template = {"Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": properties}}}
    formation.create_stack(
        StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"], OnFailure="DO_NOTHING"
    )

    def states() -> list[str]:
        events = formation.describe_stack_events(StackName=name)["StackEvents"]
        return [each["ResourceStatusReason"] for each in events if each["ResourceStatus"] == "CREATE_FAILED"]

    reasons = eventually(states, bool)
    assert any(f"Policy {UNKNOWN} does not exist or is not attachable" in reason for reason in reasons)
    formation.delete_stack(StackName=name)


@pytest.mark.parametrize(
    ("policy", "action", "resource", "decision"),
    [
        ("AmazonS3ReadOnlyAccess", "s3:GetObject", "*", "allowed"),
        ("AmazonSageMakerFullAccess", "sagemaker:CreateTrainingJob", "*", "allowed"),
        ("AmazonSageMakerFullAccess", "cloudwatch:PutMetricData", "*", "allowed"),
        ("AmazonSageMakerFullAccess", "s3:GetObject", "arn:aws:s3:::my-sagemaker-data/a", "allowed"),
        ("AmazonSageMakerFullAccess", "s3:GetObject", "arn:aws:s3:::other/a", "implicitDeny"),
        ("AmazonSageMakerReadOnly", "sagemaker:CreateTrainingJob", "*", "implicitDeny"),
        ("service-role/AmazonEC2ContainerServiceforEC2Role", "ecr:BatchGetImage", "*", "allowed"),
    ],
)
def test_policies_of_aws_give_the_rights_of_their_documents(
    cloud: Cloud, policy: str, action: str, resource: str, decision: str
) -> None:
    iam, name = cloud.client("iam"), unique("managed")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    simulation = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource])
    assert simulation["EvaluationResults"][0]["EvalDecision"] == decision


@pytest.mark.parametrize("kind", ["role", "user", "group"])
def test_a_principal_that_is_not_here_is_not_simulated(cloud: Cloud, kind: str) -> None:
    iam = cloud.client("iam")
    with pytest.raises(iam.exceptions.NoSuchEntityException, match=f"The {kind} with name nobody cannot be found"):
        iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::000000000000:{kind}/nobody", ActionNames=["s3:GetObject"]
        )
