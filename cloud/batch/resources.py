"""Compute environments, job queues and job definitions, in the form of Batch's API."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloud.batch import instance_types
from cloud.core.protocol import ApiError, Operation, Request

Record = dict[str, Any]
_SPOT_STRATEGIES = ("SPOT_CAPACITY_OPTIMIZED", "SPOT_PRICE_CAPACITY_OPTIMIZED")
_PAGE = 100  # entries of a list, unless the request says otherwise
_MIN_TIMEOUT = 60
_MIN_MEMORY = 4  # MiB


def refused(message: str) -> ApiError:
    """Return a ``ClientException``, which Batch answers to every wrong request."""
    return ApiError("ClientException", message)


class Resources:
    """All compute environments, queues and job definitions, by ARN.

    Args:
        scope: Returns the (region, account) of the current request.
        role_of: Returns the ARN of the role that an instance profile, or a role, of this name or ARN stands for; empty
            if there is none.
    """

    def __init__(self, scope: Callable[[], tuple[str, str]], role_of: Callable[[str], str]) -> None:
        self._scope, self._role_of = scope, role_of
        self._environments: dict[str, Record] = {}
        self._queues: dict[str, Record] = {}
        self._definitions: dict[str, Record] = {}
        self._lock = threading.Lock()
        # What the jobs are asked: the vCPUs of an environment's instances, and to end the jobs of a queue.
        self.vcpus_in_use: Callable[[str], int] = lambda _arn: 0
        self.end_jobs: Callable[[str], None] = lambda _arn: None

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "CreateComputeEnvironment": self._create_environment,
            "UpdateComputeEnvironment": self._update_environment,
            "DescribeComputeEnvironments": self._describe_environments,
            "DeleteComputeEnvironment": self._delete_environment,
            "CreateJobQueue": self._create_queue,
            "UpdateJobQueue": self._update_queue,
            "DescribeJobQueues": self._describe_queues,
            "DeleteJobQueue": self._delete_queue,
            "RegisterJobDefinition": self._register,
            "DescribeJobDefinitions": self._describe_definitions,
            "DeregisterJobDefinition": self._deregister,
        }

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource in the scope of the current request."""
        region, account = self._scope()
        return f"arn:aws:batch:{region}:{account}:{kind}/{name}"

    def queue(self, name: str) -> Record:
        """Return a queue by its name or ARN.

        Raises:
            ApiError: There is none.
        """
        queue = self._queues.get(name if name.startswith("arn:") else self.arn("job-queue", name))
        if queue is None:
            raise refused(f"Invalid queue identifier : {name}")
        return queue

    def environments_of(self, queue: Record) -> list[Record]:
        """Return the compute environments of a queue that still exist, in the queue's order."""
        order = sorted(queue["computeEnvironmentOrder"], key=lambda each: each["order"])
        return [self._environments[a] for each in order if (a := each["computeEnvironment"]) in self._environments]

    def definition(self, name: str) -> Record:
        """Return an active job definition by its name, ``name:revision`` or ARN; without a revision the newest.

        Raises:
            ApiError: There is none.
        """
        arn = name if name.startswith("arn:") else self.arn("job-definition", name)
        with self._lock:
            active = [each for each in self._definitions.values() if each["status"] == "ACTIVE"]
        matches = [each for each in active if arn in (each["jobDefinitionArn"], _without_revision(each))]
        if not matches:
            raise refused(f"JobDefinition not found or not active: {name}")
        return max(matches, key=lambda each: each["revision"])

    def instance_role(self, environment: Record) -> str:
        """Return the ARN of the role of an environment's instances; empty if it does not exist any more."""
        return self._role_of(environment["computeResources"]["instanceRole"])

    # --- compute environments -----------------------------------------------------------------------

    def _create_environment(self, request: Request) -> Mapping[str, Any]:
        name = request["computeEnvironmentName"]
        arn = self.arn("compute-environment", name)
        if request["type"] != "MANAGED":
            raise refused("The laptop cloud has only compute environments of type MANAGED.")
        resources = request.get("computeResources")
        if not resources:
            raise refused("computeResources must be provided for a MANAGED compute environment")
        _check_resources(resources)
        record = {
            "computeEnvironmentName": name,
            "computeEnvironmentArn": arn,
            "ecsClusterArn": f"arn:aws:ecs:{':'.join(self._scope())}:cluster/AWSBatch-{name}",
            "containerOrchestrationType": "ECS",
            "type": "MANAGED",
            "state": request.get("state", "ENABLED"),
            "computeResources": {"minvCpus": 0, **resources},
            "serviceRole": request.get("serviceRole", ""),
            "tags": request.get("tags", {}),
        }
        self._validate(record)
        with self._lock:
            if arn in self._environments:
                raise refused("Object already exists")
            self._environments[arn] = record
        return {"computeEnvironmentName": name, "computeEnvironmentArn": arn}

    def _validate(self, record: Record) -> None:
        """Set the status: an environment whose instances have no role is INVALID, as on AWS, and starts nothing."""
        role = record["computeResources"]["instanceRole"]
        found = bool(self._role_of(role))
        record["status"] = "VALID" if found else "INVALID"
        record["statusReason"] = (
            "ComputeEnvironment Healthy" if found else f"CLIENT_ERROR - The instance role {role} does not exist"
        )

    def _update_environment(self, request: Request) -> Mapping[str, Any]:
        record = self._environment(request["computeEnvironment"])
        changed = {**record["computeResources"], **request.get("computeResources", {})}
        _check_resources(changed)
        record["computeResources"] = changed
        for member in ("state", "serviceRole"):
            record[member] = request.get(member, record[member])
        self._validate(record)
        return {key: record[key] for key in ("computeEnvironmentName", "computeEnvironmentArn")}

    def _describe_environments(self, request: Request) -> Mapping[str, Any]:
        found = _selected(self._environments, request.get("computeEnvironments"), self.arn("compute-environment", ""))
        shown = [
            {**each, "computeResources": {**each["computeResources"], "desiredvCpus": self._desired(each)}}
            for each in found
        ]
        return page(request, "computeEnvironments", shown)

    def _desired(self, record: Record) -> int:
        used = self.vcpus_in_use(record["computeEnvironmentArn"])
        return max(int(record["computeResources"]["minvCpus"]), used)

    def _delete_environment(self, request: Request) -> Mapping[str, Any]:
        arn = self._to_delete(self._environments, "compute-environment", request["computeEnvironment"])
        if arn is None:
            return {}  # AWS answers so too.
        if any(arn == e["computeEnvironment"] for q in self._queues.values() for e in q["computeEnvironmentOrder"]):
            raise refused("Cannot delete, found existing JobQueue relationship")
        del self._environments[arn]
        return {}

    def _environment(self, name: str) -> Record:
        record = self._environments.get(name if name.startswith("arn:") else self.arn("compute-environment", name))
        if record is None:
            raise refused(f"{name} does not exist")
        return record

    # --- queues -------------------------------------------------------------------------------------

    def _create_queue(self, request: Request) -> Mapping[str, Any]:
        name = request["jobQueueName"]
        arn = self.arn("job-queue", name)
        record = {
            "jobQueueName": name,
            "jobQueueArn": arn,
            "state": request.get("state", "ENABLED"),
            "status": "VALID",
            "statusReason": "JobQueue Healthy",
            "priority": request["priority"],
            "computeEnvironmentOrder": self._order(request.get("computeEnvironmentOrder", [])),
            "jobStateTimeLimitActions": request.get("jobStateTimeLimitActions", []),
            "tags": request.get("tags", {}),
        }
        with self._lock:
            if arn in self._queues:
                raise refused("Object already exists")
            self._queues[arn] = record
        return {"jobQueueName": name, "jobQueueArn": arn}

    def _order(self, order: list[Record]) -> list[Record]:
        if not order:
            raise refused("computeEnvironmentOrder must name at least one compute environment")
        known = [self._environment(each["computeEnvironment"])["computeEnvironmentArn"] for each in order]
        return [{**each, "computeEnvironment": arn} for each, arn in zip(order, known, strict=True)]

    def _update_queue(self, request: Request) -> Mapping[str, Any]:
        record = self.queue(request["jobQueue"])
        if "computeEnvironmentOrder" in request:
            record["computeEnvironmentOrder"] = self._order(request["computeEnvironmentOrder"])
        for member in ("state", "priority", "jobStateTimeLimitActions"):
            record[member] = request.get(member, record[member])
        return {key: record[key] for key in ("jobQueueName", "jobQueueArn")}

    def _to_delete(self, records: Mapping[str, Record], kind: str, name: str) -> str | None:
        """Return the ARN of the resource with a name or ARN; None if there is none."""
        arn = name if name.startswith("arn:") else self.arn(kind, name)
        record = records.get(arn)
        if record and record["state"] != "DISABLED":
            raise refused("Cannot delete, resource must be in state DISABLED")
        return arn if record else None

    def _describe_queues(self, request: Request) -> Mapping[str, Any]:
        return page(request, "jobQueues", _selected(self._queues, request.get("jobQueues"), self.arn("job-queue", "")))

    def _delete_queue(self, request: Request) -> Mapping[str, Any]:
        arn = self._to_delete(self._queues, "job-queue", request["jobQueue"])
        if arn is None:
            return {}  # AWS answers so too.
        self.end_jobs(arn)
        del self._queues[arn]
        return {}

    # --- job definitions ----------------------------------------------------------------------------

    def _register(self, request: Request) -> Mapping[str, Any]:
        name = request["jobDefinitionName"]
        if request["type"] == "container":
            _check_container(request.get("containerProperties", {}))
        elif "nodeProperties" not in request:
            raise refused("A job definition of type multinode needs nodeProperties")
        if "FARGATE" in request.get("platformCapabilities", []):
            raise refused("The laptop cloud has no platform capability FARGATE; use EC2.")
        check_retries(request)
        with self._lock:
            base = self.arn("job-definition", name)
            revision = 1 + sum(_without_revision(each) == base for each in self._definitions.values())
            arn = f"{base}:{revision}"
            members = {key: value for key, value in request.items() if key != "jobDefinitionName"}
            self._definitions[arn] = {
                **members,
                "jobDefinitionName": name,
                "jobDefinitionArn": arn,
                "revision": revision,
                "status": "ACTIVE",
            }
        return {"jobDefinitionName": name, "jobDefinitionArn": arn, "revision": revision}

    def _describe_definitions(self, request: Request) -> Mapping[str, Any]:
        names, name = request.get("jobDefinitions", []), request.get("jobDefinitionName")
        with self._lock:
            found = list(self._definitions.values())
        if names:
            found = [
                each
                for each in found
                if each["jobDefinitionArn"] in names or f"{each['jobDefinitionName']}:{each['revision']}" in names
            ]
        found = [each for each in found if name in (None, each["jobDefinitionName"])]
        found = [each for each in found if request.get("status", each["status"]) == each["status"]]
        return page(request, "jobDefinitions", found)

    def _deregister(self, request: Request) -> Mapping[str, Any]:
        name = request["jobDefinition"]
        arn = name if name.startswith("arn:") else self.arn("job-definition", name)
        if definition := self._definitions.get(arn):
            definition["status"] = "INACTIVE"
        return {}


def page(request: Request, member: str, entries: Sequence[Any]) -> Mapping[str, Any]:
    """Return the page of a list that a request asks for, under the name of the answer's member.

    Raises:
        ApiError: The token is not one of a list.
    """
    token = request.get("nextToken") or "0"
    if not token.isdecimal():
        raise refused(f"nextToken {token} is none that a list has returned")
    end = int(token) + request.get("maxResults", _PAGE)
    return {member: entries[int(token) : end], "nextToken": str(end) if end < len(entries) else None}


def check_retries(request: Request) -> None:
    """Check the retry strategy and the timeout of a job or a job definition.

    Raises:
        ApiError: They are refused.
    """
    strategy = request.get("retryStrategy", {})
    attempts = strategy.get("attempts")
    if attempts is not None and not 1 <= attempts <= 10:
        raise refused("attempts of retryStrategy must be from 1 to 10")
    rules = strategy.get("evaluateOnExit", [])
    if len(rules) > 5:
        raise refused("evaluateOnExit may have at most 5 rules")
    if rules and attempts is None:
        raise refused("attempts must be given where evaluateOnExit is")
    seconds = request.get("timeout", {}).get("attemptDurationSeconds")
    if seconds is not None and seconds < _MIN_TIMEOUT:
        raise refused(f"attemptDurationSeconds must be at least {_MIN_TIMEOUT}")


def requirements(container: Mapping[str, Any]) -> dict[str, int]:
    """Return VCPU, MEMORY (MiB) and GPU of container properties; missing ones are left out."""
    older = {"VCPU": container.get("vcpus"), "MEMORY": container.get("memory")}
    newer = {each["type"]: each["value"] for each in container.get("resourceRequirements", [])}
    return {name: int(float(value)) for name, value in {**older, **newer}.items() if value is not None}


def _check_container(container: Mapping[str, Any]) -> None:
    if not container.get("image"):
        raise refused("Container properties should not be empty: image is missing")
    needed = requirements(container)
    for name in ("VCPU", "MEMORY"):
        if name not in needed:
            raise refused(f"Container resourceRequirements needs {name}")
    if needed["MEMORY"] < _MIN_MEMORY or needed["VCPU"] < 1:
        raise refused(f"Container needs at least 1 VCPU and {_MIN_MEMORY} MiB of MEMORY")


def _check_resources(resources: Mapping[str, Any]) -> None:
    kind = resources["type"]
    if kind not in ("EC2", "SPOT"):
        raise refused(f"The laptop cloud has compute resources of the types EC2 and SPOT only, not {kind}.")
    for member in ("subnets", "instanceTypes", "instanceRole"):
        if not resources.get(member):
            raise refused(f"{member} must be provided for compute resources of type {kind}")
    if not resources.get("securityGroupIds") and not resources.get("launchTemplate"):
        raise refused("securityGroupIds must be provided, or a launch template that has them")
    if resources.get("minvCpus", 0) > resources["maxvCpus"]:
        raise refused("minvCpus must not be above maxvCpus")
    strategy = resources.get("allocationStrategy", "BEST_FIT")
    if strategy in _SPOT_STRATEGIES and kind != "SPOT":
        raise refused(f"{strategy} is available for compute resources of type SPOT only")
    if strategy == "BEST_FIT" and kind == "SPOT" and not resources.get("spotIamFleetRole"):
        raise refused("spotIamFleetRole must be provided for SPOT with BEST_FIT")
    unknown = [name for name in resources["instanceTypes"] if not instance_types.expand([name])]
    if unknown:
        raise refused(f"Instance type(s) [{', '.join(unknown)}] can not be found")


def _selected(records: Mapping[str, Record], names: list[str] | None, prefix: str) -> list[Record]:
    """Return the records that a Describe request names, or all of the scope."""
    if not names:
        return [record for arn, record in records.items() if arn.startswith(prefix)]
    arns = [name if name.startswith("arn:") else f"{prefix}{name}" for name in names]
    return [records[arn] for arn in arns if arn in records]


def _without_revision(definition: Record) -> str:
    arn: str = definition["jobDefinitionArn"]
    return arn.rpartition(":")[0]
