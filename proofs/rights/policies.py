"""A stack's policies as deployed, and each without one of the things that it says."""

import contextlib
import copy
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cloud.settings import ACCOUNT
from local.laptop import REGION, Cloud

WHOLE = "all of it"
Document = dict[str, Any]
# Resources whose names are made up anew by each deployment: readers are told what the template calls them.
_RENAMED = (
    "AWS::ApiGateway::RestApi",
    "AWS::ECR::Repository",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::KMS::Key",
    "AWS::Lambda::Permission",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
)


@dataclass(frozen=True)
class Policy:
    """One document.

    name: the template's resource that has it; a role's trust is told from what the role may do.
    kind: identity for what roles may do, trust for who may have a role, resource for a resource's own.
    governs: names of the roles; else the ARN of the role or resource.
    """

    name: str
    kind: Literal["identity", "trust", "resource"]
    governs: frozenset[str]
    document: Document

    @property
    def statements(self) -> list[dict[str, Any]]:
        """One by one."""
        found: list[dict[str, Any]] = listed(self.document["Statement"])
        return found


@dataclass(frozen=True)
class Grant:
    """One thing that a policy says: a statement, or one of its actions, resources or conditions.

    statement: its place in the policy. place: of the action or resource in the statement. value: that, or the
    condition's key.
    """

    kind: Literal["statement", "action", "resource", "condition"]
    statement: int
    value: str
    place: int = 0


def grants(policy: Policy) -> Iterator[Grant]:
    """All that a policy says."""
    for number, statement in enumerate(policy.statements):
        yield Grant("statement", number, WHOLE)
        for place, value in enumerate(listed(statement.get("Action"))):
            yield Grant("action", number, value, place)
        for place, value in enumerate(listed(statement.get("Resource"))):
            yield Grant("resource", number, value, place)
        for pairs in statement.get("Condition", {}).values():
            for key in pairs:
                yield Grant("condition", number, key)


def without(document: Document, grant: Grant, instead: str = "") -> Document:
    """A document that lacks a grant, or has another action or resource in its place.

    A statement goes with its last action or resource. The document may be the template's own, where resources are
    functions of CloudFormation: all is found by its place.
    """
    changed = copy.deepcopy(document)
    statements = changed["Statement"] = listed(changed["Statement"])
    statement = statements[grant.statement]
    if grant.kind == "condition":
        for operator in list(statement["Condition"]):
            statement["Condition"][operator].pop(grant.value, None)
        statement["Condition"] = {operator: pairs for operator, pairs in statement["Condition"].items() if pairs}
        return changed
    member = grant.kind.capitalize()
    values = listed(statement.get(member))
    values[grant.place : grant.place + 1] = [instead] if instead else []
    if values:
        statement[member] = values
    else:
        del statements[grant.statement]
    return changed


def narrower(pattern: str, seen: Collection[str]) -> str:
    """A pattern with each ``*`` narrowed to what all that it matched has in common there, up to a ``/`` or ``:``.

    The pattern itself when what it matched differs from its ``*`` on.
    """
    parts = pattern.split("*")
    shape = re.compile("(.*)".join(map(re.escape, parts)))
    stars = zip(*(match.groups() for match in map(shape.fullmatch, seen) if match), strict=True)
    return parts[0] + "".join(_common(star) + part for star, part in zip(stars, parts[1:], strict=True))


def _common(values: Collection[str]) -> str:
    first, last = min(values), max(values)
    if first == last:
        return first
    length = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return re.sub(r"[^/:]*$", "", first[:length]) + "*"


def listed(value: Any) -> list[Any]:
    """What policies write as one or as several."""
    return [] if value is None else value if isinstance(value, list) else [value]


class Deployed:
    """A stack's policies, and what the template calls its resources.

    Attributes:
        policies: of its roles what they may do and who may have them; of its key, bucket and functions their own.
    """

    def __init__(self, cloud: Cloud, name: str) -> None:
        found = cloud.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
        self._cloud = cloud
        self._ids: dict[str, dict[str, str]] = {}  # logical ids by physical ones, by type
        for each in found:
            logical, physical = each["LogicalResourceId"], each["PhysicalResourceId"]
            self._ids.setdefault(each["ResourceType"], {})[physical] = logical
        names = {
            physical.rpartition(":")[2].rpartition("/")[2]: logical
            for kind in _RENAMED
            for physical, logical in self._ids.get(kind, {}).items()
        }
        self._names = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
        self._logical = names
        self.policies = [*self._identity(), *self._trust(), *self._own()]

    def readable(self, text: str) -> str:
        """An ARN, or other text, as short as it can be: ``s3:${Bucket}/runs/*``."""
        if text.startswith("arn:"):
            _, _, service, region, account, rest = text.split(":", 5)
            elsewhere = [each for each in (region, account) if each not in ("", REGION, ACCOUNT)]
            text = ":".join([service, *elsewhere, rest])
        return self._names.sub(lambda match: f"${{{self._logical[match[0]]}}}", text)

    def sid(self, policy: Policy, grant: Grant) -> str:
        """The name of a grant's statement; its number where it has none."""
        return self.readable(policy.statements[grant.statement].get("Sid") or f"#{grant.statement + 1}")

    def _identity(self) -> Iterator[Policy]:
        iam, shared = self._cloud.client("iam"), dict[str, set[str]]()
        for role, logical in self._ids["AWS::IAM::Role"].items():
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                yield Policy(logical, "identity", frozenset([role]), document)
            for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
                shared.setdefault(attached["PolicyArn"], set()).add(role)
        for arn, roles in shared.items():
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            name = self._ids.get("AWS::IAM::ManagedPolicy", {}).get(arn, arn.rpartition("/")[2])
            yield Policy(name, "identity", frozenset(roles), document)

    def _trust(self) -> Iterator[Policy]:
        iam = self._cloud.client("iam")
        for role, logical in self._ids["AWS::IAM::Role"].items():
            found = iam.get_role(RoleName=role)["Role"]
            yield Policy(f"{logical} trust", "trust", frozenset([found["Arn"]]), found["AssumeRolePolicyDocument"])

    def _own(self) -> Iterator[Policy]:
        kms, s3, functions = (self._cloud.client(name) for name in ("kms", "s3", "lambda"))
        for key, logical in self._ids["AWS::KMS::Key"].items():
            arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
            document = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
            yield Policy(logical, "resource", frozenset([arn]), document)
        for bucket, logical in self._ids["AWS::S3::Bucket"].items():
            document = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
            yield Policy(logical, "resource", frozenset([f"arn:aws:s3:::{bucket}"]), document)
        for function, logical in self._ids["AWS::Lambda::Function"].items():
            with contextlib.suppress(functions.exceptions.ResourceNotFoundException):  # nobody was let in
                found = functions.get_policy(FunctionName=function)
                arn = functions.get_function(FunctionName=function)["Configuration"]["FunctionArn"]
                yield Policy(logical, "resource", frozenset([arn]), json.loads(found["Policy"]))
