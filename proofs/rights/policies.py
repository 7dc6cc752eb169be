"""Reads a stack's policies as deployed, and removes single grants from them."""

import contextlib
import copy
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cloud.settings import ACCOUNT
from local.laptop import REGION, Cloud

WHOLE_STATEMENT = "all of it"
Document = dict[str, Any]
# Each deployment gives these resources new physical names, so the proof prints their names in the template.
_RENAMED_TYPES = (
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
    """One policy document.

    Attributes:
        name: the logical id of its resource in the template; for the trust policy of a role followed by "trust".
        kind: "identity" says what roles may do, "trust" who may assume a role, "resource" who may use a resource.
        governs: names of the roles for an identity policy, otherwise the ARN of the role or resource.
        document: as IAM stores it.
    """

    name: str
    kind: Literal["identity", "trust", "resource"]
    governs: frozenset[str]
    document: Document

    @property
    def statements(self) -> list[dict[str, Any]]:
        """The statements of the document, also if it has only one."""
        statements: list[dict[str, Any]] = as_list(self.document["Statement"])
        return statements


@dataclass(frozen=True)
class Grant:
    """A statement of a policy, or one action, resource or condition of a statement.

    Attributes:
        kind: of the grant.
        statement: index of the statement in the policy.
        value: the action, the resource or the key of the condition.
        index: of the action or resource in the statement.
    """

    kind: Literal["statement", "action", "resource", "condition"]
    statement: int
    value: str
    index: int = 0


def grants(policy: Policy) -> Iterator[Grant]:
    """Yield all grants of a policy."""
    for number, statement in enumerate(policy.statements):
        yield Grant("statement", number, WHOLE_STATEMENT)
        for index, value in enumerate(as_list(statement.get("Action"))):
            yield Grant("action", number, value, index)
        for index, value in enumerate(as_list(statement.get("Resource"))):
            yield Grant("resource", number, value, index)
        for pairs in statement.get("Condition", {}).values():
            for key in pairs:
                yield Grant("condition", number, key)


def without(document: Document, grant: Grant, replacement: str = "") -> Document:
    """Return a copy of a document without a grant, or with another action or resource instead of it.

    A statement is removed with its last action or resource. The document may be from the template, where resources are
    functions of CloudFormation, so grants are found by their index and not by their value.
    """
    changed = copy.deepcopy(document)
    statements = changed["Statement"] = as_list(changed["Statement"])
    statement = statements[grant.statement]
    if grant.kind == "condition":
        for operator in list(statement["Condition"]):
            statement["Condition"][operator].pop(grant.value, None)
        statement["Condition"] = {operator: pairs for operator, pairs in statement["Condition"].items() if pairs}
        return changed
    member = grant.kind.capitalize()
    values = as_list(statement.get(member))
    values[grant.index : grant.index + 1] = [replacement] if replacement else []
    if values:
        statement[member] = values
    else:
        del statements[grant.statement]
    return changed


def narrower(pattern: str, names: Collection[str]) -> str:
    """Return a pattern with each ``*`` narrowed to the common part of all names that it matched; ``?`` stays.

    The common part ends at a ``/`` or ``:``. If the names have no common part, the pattern is returned unchanged.
    """
    parts = pattern.split("*")
    shape = re.compile("(.*)".join(re.escape(part).replace(r"\?", ".") for part in parts))
    stars = zip(*(match.groups() for match in map(shape.fullmatch, names) if match), strict=True)
    return parts[0] + "".join(_common(star) + part for star, part in zip(stars, parts[1:], strict=True))


def _common(values: Collection[str]) -> str:
    first, last = min(values), max(values)
    if first == last:
        return first
    length = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return re.sub(r"[^/:]*$", "", first[:length]) + "*"


def as_list(value: Any) -> list[Any]:
    """Return a member of a policy as a list, because policies may write a single value without one."""
    return [] if value is None else value if isinstance(value, list) else [value]


class StackPolicies:
    """The policies of a deployed stack, and the names of its resources in the template.

    Attributes:
        policies: identity and trust policies of its roles; resource policies of its key, bucket, images and functions.
    """

    def __init__(self, cloud: Cloud, name: str) -> None:
        resources = cloud.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
        self._cloud = cloud
        self._ids: dict[str, dict[str, str]] = {}  # for each type: logical ids by physical ids
        for resource in resources:
            logical, physical = resource["LogicalResourceId"], resource["PhysicalResourceId"]
            self._ids.setdefault(resource["ResourceType"], {})[physical] = logical
        names = {
            physical.rpartition(":")[2].rpartition("/")[2]: logical
            for resource_type in _RENAMED_TYPES
            for physical, logical in self._ids.get(resource_type, {}).items()
        }
        self._physical_names = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
        self._logical_ids = names
        self.policies = [*self._identity_policies(), *self._trust_policies(), *self._resource_policies()]

    def readable(self, text: str) -> str:
        """Return an ARN or another text in its shortest form: ``s3:${Bucket}/runs/*``."""
        if text.startswith("arn:"):
            _, _, service, region, account, rest = text.split(":", 5)
            foreign = [each for each in (region, account) if each not in ("", REGION, ACCOUNT)]
            text = ":".join([service, *foreign, rest])
        return self._physical_names.sub(lambda match: f"${{{self._logical_ids[match[0]]}}}", text)

    def sid(self, policy: Policy, grant: Grant) -> str:
        """Return the Sid of a grant's statement, or its number if it has none."""
        return self.readable(policy.statements[grant.statement].get("Sid") or f"#{grant.statement + 1}")

    def _identity_policies(self) -> Iterator[Policy]:
        iam, roles_by_arn = self._cloud.client("iam"), dict[str, set[str]]()
        for role, logical in self._ids["AWS::IAM::Role"].items():
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                yield Policy(logical, "identity", frozenset([role]), document)
            for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
                roles_by_arn.setdefault(attached["PolicyArn"], set()).add(role)
        for arn, roles in roles_by_arn.items():
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            name = self._ids.get("AWS::IAM::ManagedPolicy", {}).get(arn, arn.rpartition("/")[2])
            yield Policy(name, "identity", frozenset(roles), document)

    def _trust_policies(self) -> Iterator[Policy]:
        iam = self._cloud.client("iam")
        for name, logical in self._ids["AWS::IAM::Role"].items():
            role = iam.get_role(RoleName=name)["Role"]
            yield Policy(f"{logical} trust", "trust", frozenset([role["Arn"]]), role["AssumeRolePolicyDocument"])

    def _resource_policies(self) -> Iterator[Policy]:
        kms, s3, ecr, functions = (self._cloud.client(name) for name in ("kms", "s3", "ecr", "lambda"))
        for key, logical in self._ids["AWS::KMS::Key"].items():
            arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
            document = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
            yield Policy(logical, "resource", frozenset([arn]), document)
        for bucket, logical in self._ids["AWS::S3::Bucket"].items():
            document = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
            yield Policy(logical, "resource", frozenset([f"arn:aws:s3:::{bucket}"]), document)
        for repository, logical in self._ids["AWS::ECR::Repository"].items():
            (described,) = ecr.describe_repositories(repositoryNames=[repository])["repositories"]
            document = json.loads(ecr.get_repository_policy(repositoryName=repository)["policyText"])
            yield Policy(logical, "resource", frozenset([described["repositoryArn"]]), document)
        for function, logical in self._ids["AWS::Lambda::Function"].items():
            with contextlib.suppress(functions.exceptions.ResourceNotFoundException):  # The function has no policy.
                policy = functions.get_policy(FunctionName=function)["Policy"]
                arn = functions.get_function(FunctionName=function)["Configuration"]["FunctionArn"]
                yield Policy(logical, "resource", frozenset([arn]), json.loads(policy))
