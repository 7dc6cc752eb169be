"""Mutants of the template, deployed and run: does the laptop cloud say what the replay said?"""

import json
from collections.abc import Sequence
from typing import Any

from samcli.yamlhelper import yaml_parse

from local import stack
from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.rights.policies import without
from proofs.rights.recording import Recording, clear, run_anew
from proofs.rights.verdict import Named

_MUTANT = stack.TEMPLATE.with_name("mutant.yaml")  # beside what was built, which it refers to
_KINDS = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
_UNHEARD = ("logs:", "cloudwatch:PutMetricData")  # nothing waits for what is logged and measured


def candidates(found: Sequence[Named], template: dict[str, Any]) -> list[Named]:
    """What can be left out of the template by itself, and is missed by a run when it is needed."""
    return [
        each
        for each in found
        if template["Resources"].get(each.policy, {}).get("Type") in _KINDS
        and each.finding.grant.kind != "condition"
        and without(each.finding.policy.document, each.finding.grant)["Statement"]  # IAM takes no empty policy
        and not (each.finding.by and each.finding.by.decision.action.startswith(_UNHEARD))
    ]


def try_out(stage: Stage, mutant: Named, recording: Recording, report: Report) -> None:
    """Deploy the template without a grant and run all anew."""
    finding, words = mutant.finding, mutant.words
    clear(stage)
    template = yaml_parse(stack.TEMPLATE.read_text())
    _MUTANT.write_text(json.dumps(mutated(template, mutant)))
    stack.finish(stack.deploy(stage.laptop, _MUTANT))
    begin = recording.length()
    ended = run_anew(stage)
    refused = [each for each in recording.decisions(begin) if not each.allowed]
    report.say(f"without {words} the run ended as {ended['status']}: {ended.get('cause', '')[:300]}")
    if not finding.needed:
        report.promise(f"the run does without {words}", ended["status"] == "SUCCEEDED")
        return
    missed = any(finding.by and each.action == finding.by.decision.action for each in refused)
    report.promise(f"the run is denied {words} and fails", missed and ended["status"] == "FAILED")


def mutated(template: dict[str, Any], mutant: Named) -> dict[str, Any]:
    """A template that lacks a grant."""
    properties = template["Resources"][mutant.policy]["Properties"]
    holder = properties["Policies"][0] if "Policies" in properties else properties
    holder["PolicyDocument"] = without(holder["PolicyDocument"], mutant.finding.grant)
    return template
