"""Deploys and runs mutants of the template, which lack one grant each, to check what the replay found."""

import json
from collections.abc import Sequence
from typing import Any

from samcli.yamlhelper import yaml_parse

from local import stack
from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report
from proofs.rights.policies import without
from proofs.rights.recording import Recording, clear, run_from_nothing
from proofs.rights.verdict import NamedFinding

_MUTANT = stack.TEMPLATE.with_name("mutant.yaml")  # It must be beside the build, whose files it names.
_POLICY_TYPES = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
_WITHOUT_EFFECT = ("logs:", "cloudwatch:PutMetricData")  # A run does not fail when these calls are denied.


def candidates(findings: Sequence[NamedFinding], template: dict[str, Any]) -> list[NamedFinding]:
    """Return the grants that can be removed alone, and whose absence makes a run fail if they are needed."""
    return [
        each
        for each in findings
        if template["Resources"].get(each.policy, {}).get("Type") in _POLICY_TYPES
        and each.finding.grant.kind != "condition"
        # IAM does not accept a policy without statements.
        and without(each.finding.policy.document, each.finding.grant)["Statement"]
        and not (each.finding.needed_by and each.finding.needed_by.decision.action.startswith(_WITHOUT_EFFECT))
    ]


def run_mutant(cloud: DrillCloud, mutant: NamedFinding, recording: Recording, report: Report) -> None:
    """Deploy the template without a grant, run the pipeline from nothing, and check how that ends."""
    finding, words = mutant.finding, mutant.words
    clear(cloud)
    template = yaml_parse(stack.TEMPLATE.read_text())
    _MUTANT.write_text(json.dumps(mutated(template, mutant)))
    stack.finish(stack.deploy(cloud.laptop, _MUTANT))
    begin = recording.length()
    execution = run_from_nothing(cloud)
    denied = [each for each in recording.decisions(begin) if not each.allowed]
    report.log(f"without {words} the run ended as {execution['status']}: {execution.get('cause', '')[:300]}")
    if not finding.needed:
        report.promise(f"the run succeeds without {words}", execution["status"] == "SUCCEEDED")
        return
    as_expected = any(finding.needed_by and each.action == finding.needed_by.decision.action for each in denied)
    report.promise(f"the run is denied {words} and fails", as_expected and execution["status"] == "FAILED")


def mutated(template: dict[str, Any], mutant: NamedFinding) -> dict[str, Any]:
    """Return the template without a grant. The given template is changed."""
    properties = template["Resources"][mutant.policy]["Properties"]
    holder = properties["Policies"][0] if "Policies" in properties else properties
    holder["PolicyDocument"] = without(holder["PolicyDocument"], mutant.finding.grant)
    return template
