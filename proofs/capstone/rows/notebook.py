"""The notebook's work: a second endpoint by hand, asked beside the first.

Where the environment of the notebook is installed (``make notebook``), the notebook itself runs. Elsewhere the same
calls of SageMaker's API are made without its SDK, and the evidence says so.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import ClientError

from local import notebook
from local.home import HOME, LocalError
from proofs.capstone import by_hand
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.capstone.rows import endpoint

_SECONDS = 180
_ROW = re.compile(r"^(\S.*?) +(\S.*?) +([\d.]+)% +(\S.*?) +([\d.]+)%$", re.MULTILINE)


def collect(kennel: Kennel) -> Evidence:
    """Run the notebook, or do its work by the API alone."""
    if (notebook.ENVIRONMENT / "bin" / "jupyter").exists():
        kennel.progress("the notebook runs in Jupyter")
        return _by_notebook(kennel)
    return _by_api(kennel)


def _by_notebook(kennel: Kennel) -> Evidence:
    if code := notebook.open_notebook(kennel.laptop, run=True):
        raise LocalError(f"the notebook ended with code {code}; Jupyter says above in which cell")
    cells = json.loads((HOME / notebook.NOTEBOOK.name).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = ["".join(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs]
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(texts))
    return {
        "by": "examples/kennel.ipynb with the SageMaker SDK",
        "errors": [each.get("evalue", "") for each in outputs if each["output_type"] == "error"],
        "answers": [
            {"known": known, "first": first, "second": second, "p": [float(p) / 100, float(q) / 100]}
            for known, first, p, second, q in _ROW.findall(text)
        ],
        "left": _left(kennel, "by-hand"),
    }


def _by_api(kennel: Kennel) -> Evidence:
    photos = endpoint.golden(kennel)
    with _second_endpoint(kennel) as second:
        answers = []
        for known, photo in photos:
            both = [endpoint.ask(kennel, name, photo) for name in (kennel.deployed.endpoint_name, second)]
            answers.append(
                {
                    "known": known["breed"],
                    "first": both[0]["breed"],
                    "second": both[1]["breed"],
                    "p": [each["probability"] for each in both],
                }
            )
    return {
        "by": "the same calls of SageMaker's API without its SDK, because `make notebook` was not called here",
        "errors": [],
        "answers": answers,
        "left": _left(kennel, by_hand.NAME),
    }


@contextmanager
def _second_endpoint(kennel: Kennel) -> Iterator[str]:
    """Deploy an endpoint from the newest approved version of the model, and delete it at the end."""
    sagemaker, name = kennel.client("sagemaker"), f"{by_hand.NAME}-{time.strftime('%Y%m%d-%H%M%S')}"
    newest = sagemaker.list_model_packages(
        ModelPackageGroupName=kennel.deployed.endpoint_name, ModelApprovalStatus="Approved"
    )["ModelPackageSummaryList"][0]["ModelPackageArn"]
    serving = sagemaker.describe_endpoint(EndpointName=kennel.deployed.endpoint_name)["EndpointConfigName"]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=serving)["ProductionVariants"][0]
    role = sagemaker.describe_model(ModelName=variant["ModelName"])["ExecutionRoleArn"]
    try:
        sagemaker.create_model(ModelName=name, PrimaryContainer={"ModelPackageName": newest}, ExecutionRoleArn=role)
        one = {"VariantName": "one", "ModelName": name, "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**one, "InstanceType": variant["InstanceType"]}]
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        kennel.wait(lambda: _status(sagemaker, name) != "Creating", "the second endpoint", _SECONDS)
        if _status(sagemaker, name) != "InService":
            raise LocalError(f"the second endpoint {name} is {_status(sagemaker, name)}")
        yield name
    finally:
        with suppress(LocalError):  # An endpoint that is being created cannot be deleted.
            kennel.wait(lambda: _status(sagemaker, name) != "Creating", "the second endpoint", _SECONDS)
        for delete, field in (
            (sagemaker.delete_endpoint, "EndpointName"),
            (sagemaker.delete_endpoint_config, "EndpointConfigName"),
            (sagemaker.delete_model, "ModelName"),
        ):
            with suppress(ClientError):
                delete(**{field: name})
        kennel.wait(lambda: not _status(sagemaker, name), "the end of the second endpoint", _SECONDS)


def _status(sagemaker: Any, name: str) -> str:
    try:
        return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])
    except ClientError:
        return ""


def _left(kennel: Kennel, begin: str) -> list[str]:
    found = kennel.client("sagemaker").list_endpoints(NameContains=begin)["Endpoints"]
    return [each["EndpointName"] for each in found]


def judge(evidence: Evidence) -> list[Check]:
    """Hold both endpoints' answers against the breeds that are known and against each other."""
    answers = evidence["answers"]
    return [
        Check(f"no cell failed ({evidence['by']})", not evidence["errors"]),
        Check(
            f"both endpoints name the breed on all {len(answers)} photos whose breed is known",
            bool(answers) and all(each["known"] == each["first"] == each["second"] for each in answers),
        ),
        Check(
            "both are equally sure",
            all(abs(each["p"][0] - each["p"][1]) < 1e-3 for each in answers),
        ),
        Check("nothing is left of it that costs by the hour", not evidence["left"]),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = [("by", evidence["by"])]
    rows += [
        (each["known"], f"{each['first']} {each['p'][0]:.1%} and {each['second']} {each['p'][1]:.1%}")
        for each in evidence["answers"]
    ]
    return rows
