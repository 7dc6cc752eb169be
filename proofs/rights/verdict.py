"""What the replay found, held against the reasons that are written down."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proofs.drills.report import Report
from proofs.rights.justified import Reason
from proofs.rights.policies import Deployed, grants
from proofs.rights.replay import Asked, Finding


class Named(NamedTuple):
    """A finding by the names that people read."""

    policy: str
    statement: str
    grant: str
    finding: Finding

    @property
    def words(self) -> str:
        """In one line."""
        return " · ".join(self[:3])


def named(findings: Iterable[Finding], deployed: Deployed) -> list[Named]:
    """Each finding with its names."""
    return [
        Named(each.policy.name, deployed.sid(each.policy, each.grant), deployed.readable(each.grant.value), each)
        for each in findings
    ]


def judge(
    found: Sequence[Named], reasons: Sequence[Reason], deployed: Deployed, report: Report
) -> list[dict[str, Any]]:
    """Say what is needless without a reason, and which reason is none any more; the findings as a document."""
    told = [(each, _reason(each, reasons)) for each in found]
    unexplained = [each for each, reason in told if not each.finding.needed and not reason]
    stale = [reason for reason in reasons if not any(reason is given for _, given in told)]
    for each in unexplained:
        instead = each.finding.narrower
        report.say(f"needless: {each.words}" + (f", of which {deployed.readable(instead)} does" if instead else ""))
    for reason in stale:
        report.say(f"stale: {' · '.join(reason[:3])} is needed here, or is not in the template")
    report.promise("whatever nobody needed has its reason written down", not unexplained)
    report.promise("no reason is written down for what is needed, or gone", not stale)
    kinds = Counter(grant.kind for policy in deployed.policies for grant in grants(policy))
    needed = Counter(each.finding.grant.kind for each in found if each.finding.needed)
    report.figures |= {
        "roles": sum(policy.kind == "trust" for policy in deployed.policies),
        "policies": len(deployed.policies),
        **{f"{kind}s": {"granted": kinds[kind], "needed": needed[kind]} for kind in kinds},
        "justified": sum(reason is not None for _, reason in told),
        "unexplained": len(unexplained),
    }
    return [_row(each, reason, deployed) for each, reason in told]


def _reason(each: Named, reasons: Sequence[Reason]) -> Reason | None:
    """Why something needless stands in the template; None also for what is needed."""
    return None if each.finding.needed else next((why for why in reasons if why.explains(*each[:3])), None)


def _row(each: Named, reason: Reason | None, deployed: Deployed) -> dict[str, Any]:
    finding = each.finding
    row = {"policy": each.policy, "statement": each.statement, "grant": each.grant, "kind": finding.grant.kind}
    if finding.needed and finding.by:
        return row | {"needed_by": _words(finding.by, deployed)}
    if finding.narrower:
        row["would_do"] = deployed.readable(finding.narrower)
    return row | {"reason": reason.why if reason else None}


def _words(asked: Asked, deployed: Deployed) -> str:
    decision = asked.decision
    who = deployed.readable(decision.principal.rpartition("assumed-role/")[2].partition("/")[0])
    return f"{who}: {decision.action} on {deployed.readable(decision.resource)} ({asked.during})"
