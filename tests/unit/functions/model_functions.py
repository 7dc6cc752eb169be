"""A model's function for the tests, with the services that know about it: what they hold, and which calls change it."""

from datetime import UTC, datetime, timedelta

import boto3
from botocore.exceptions import ClientError

NAME = "dogs-model"
RESOURCE = "function:dogs-model:live"
ROLE = "arn:aws:iam::1:role/model"
OLD, NEW = "3", "4"  # versions: of the champion, of the run
_REGION = {"region_name": "us-east-1"}
SSM = boto3.client("ssm", **_REGION).exceptions


def refused(code, message="no"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "Call")


class Parameters:
    """SSM with the hosting pointer, which was last moved so many seconds ago, and other parameters."""

    exceptions = SSM

    def __init__(self, hosting="none", moved=3600.0, others=None):
        self.hosting, self.moved, self.others = hosting, moved, others

    def get_parameter(self, Name):
        if not Name.endswith("/hosting"):
            return self.others(Name=Name)
        if self.hosting is None:
            raise SSM.ParameterNotFound({"Error": {}}, "GetParameter")
        moved = datetime.now(UTC) - timedelta(seconds=self.moved)
        return {"Parameter": {"Value": self.hosting, "LastModifiedDate": moved}}

    def put_parameter(self, Name, Value, Type, Overwrite):
        assert (Name, Type, Overwrite) == ("/dogs/hosting", "String", True)
        self.hosting, self.moved = Value, 0.0


class Lambda:
    """A function with versions, each with its description, and an alias; without versions there is no function."""

    def __init__(self, alias=None, versions=(), provisioned=0, reserved=None):
        self.alias = {"FunctionVersion": alias[0], "RoutingConfig": alias[1]} if alias else None
        self.versions = dict(versions)
        self.provisioned, self.reserved = provisioned, reserved
        self.calls, self.busy = [], None

    def __getattr__(self, name):
        def call(**request):
            if self.busy:
                raise self.busy
            assert request["FunctionName"] == NAME
            self.calls.append((name, {key: value for key, value in request.items() if key != "FunctionName"}))

        return call

    def _there(self):
        if not self.versions:
            raise refused("ResourceNotFoundException")

    def get_alias(self, Name, **_):
        self._there()
        if self.alias is None:
            raise refused("ResourceNotFoundException")
        return {"Name": Name, **self.alias}

    def update_alias(self, FunctionVersion, RoutingConfig, **_):
        self.calls.append(("update_alias", FunctionVersion))
        self.alias = {"FunctionVersion": FunctionVersion, "RoutingConfig": RoutingConfig}

    def get_function_configuration(self, Qualifier="$LATEST", **_):
        self._there()
        words = self.versions.get(Qualifier, "")
        return {"Version": Qualifier, "Description": words, "Role": ROLE, "MemorySize": 1769}

    def get_function_concurrency(self, **_):
        return {} if self.reserved is None else {"ReservedConcurrentExecutions": self.reserved}

    def get_provisioned_concurrency_config(self, **_):
        if not self.provisioned:
            raise refused("ProvisionedConcurrencyConfigNotFoundException")
        return {"RequestedProvisionedConcurrentExecutions": self.provisioned}

    def delete_function(self, Qualifier=None, **_):
        self.calls.append(("delete_function", Qualifier))
        if Qualifier is None:
            self.versions, self.alias = {}, None
        else:
            del self.versions[Qualifier]

    def get_paginator(self, operation):
        assert operation == "list_versions_by_function"
        versions = [{"Version": number, "Description": words} for number, words in self.versions.items()]
        return type("Pages", (), {"paginate": lambda *_, **__: [{"Versions": versions}]})()


class Scaling:
    """Application Auto Scaling with the scalable target of the alias."""

    def __init__(self, ranges=(), policies=()):
        self.ranges, self.policies, self.calls = list(ranges), list(policies), []

    def __getattr__(self, name):
        def call(**request):
            self.calls.append((name, request))

        return call

    def describe_scalable_targets(self, ServiceNamespace, ResourceIds, **_):
        assert (ServiceNamespace, ResourceIds) == ("lambda", [RESOURCE])
        return {"ScalableTargets": self.ranges}

    def describe_scaling_policies(self, **_):
        return {"ScalingPolicies": self.policies}


class Alarms:
    """CloudWatch's alarms: the names of those that were deleted."""

    def __init__(self):
        self.deleted = []

    def delete_alarms(self, AlarmNames):
        self.deleted += AlarmNames
