"""Compares the findings of the replay with the written reasons."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proofs.promises import Report
from proofs.rights.policies import StackPolicies, grants
from proofs.rights.reasons import Reason
from proofs.rights.replay import Finding, RecordedDecision


class NamedFinding(NamedTuple):
    """A finding with the names that people read."""

    policy: str
    statement: str
    grant: str
    finding: Finding

    @property
    def words(self) -> str:
        """The names in one line."""
        return " · ".join(self[:3])


def name_findings(findings: Iterable[Finding], deployed: StackPolicies) -> list[NamedFinding]:
    """Return the findings with their names."""
    return [
        NamedFinding(each.policy.name, deployed.sid(each.policy, each.grant), deployed.readable(each.grant.value), each)
        for each in findings
    ]


def judge(
    findings: Sequence[NamedFinding], reasons: Sequence[Reason], deployed: StackPolicies, report: Report
) -> list[dict[str, Any]]:
    """Report unneeded grants without reasons and reasons without unneeded grants; return the findings as documents."""
    explained = [(each, _reason(each, reasons)) for each in findings]
    unexplained = [each for each, reason in explained if not each.finding.needed and not reason]
    stale = [reason for reason in reasons if not any(reason is used for _, used in explained)]
    for each in unexplained:
        narrower = each.finding.narrower
        report.log(f"unneeded: {each.words}" + (f"; {deployed.readable(narrower)} is enough" if narrower else ""))
    for reason in stale:
        report.log(f"stale: {' · '.join(reason[:3])} is needed here, or is not in the template")
    report.promise("every unneeded grant has a written reason", not unexplained)
    report.promise("every written reason is about an unneeded grant", not stale)
    kinds = Counter(grant.kind for policy in deployed.policies for grant in grants(policy))
    needed = Counter(each.finding.grant.kind for each in findings if each.finding.needed)
    report.figures |= {
        "roles": sum(policy.kind == "trust" for policy in deployed.policies),
        "policies": len(deployed.policies),
        **{f"{kind}s": {"granted": kinds[kind], "needed": needed[kind]} for kind in kinds},
        "justified": sum(reason is not None for _, reason in explained),
        "unexplained": len(unexplained),
    }
    return [_document(each, reason, deployed) for each, reason in explained]


def _reason(each: NamedFinding, reasons: Sequence[Reason]) -> Reason | None:
    """Return the written reason for an unneeded grant; None for a needed one, or if there is no reason."""
    return None if each.finding.needed else next((why for why in reasons if why.explains(*each[:3])), None)


def _document(each: NamedFinding, reason: Reason | None, deployed: StackPolicies) -> dict[str, Any]:
    finding = each.finding
    document = {"policy": each.policy, "statement": each.statement, "grant": each.grant, "kind": finding.grant.kind}
    if finding.needed and finding.needed_by:
        return document | {"needed_by": _words(finding.needed_by, deployed)}
    if finding.narrower:
        document["would_do"] = deployed.readable(finding.narrower)
    return document | {"reason": reason.why if reason else None}


def _words(recorded: RecordedDecision, deployed: StackPolicies) -> str:
    decision = recorded.decision
    role = deployed.readable(decision.principal.rpartition("assumed-role/")[2].partition("/")[0])
    return f"{role}: {decision.action} on {deployed.readable(decision.resource)} ({recorded.part})"
