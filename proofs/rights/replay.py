"""The recording decided again, by policies that lack one thing each: what nobody needed changes no decision."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.iam import hooks as iam_hooks
from cloud.iam.hooks import Decision
from proofs.rights.policies import Document, Grant, Policy, grants, listed, narrower, without

_FOREIGN = "999999999999"  # a value that no condition of ours names: another account, namespace or prefix


@dataclass(frozen=True)
class Asked:
    """A decision, and the part of the recording that it was first asked in."""

    decision: Decision
    during: str = ""


@dataclass(frozen=True)
class Finding:
    """Whether a grant was needed.

    by: the decision that changes without it; None for what was not needed.
    narrower: what the grant could be narrowed to, where it could.
    """

    policy: Policy
    grant: Grant
    by: Asked | None
    narrower: str = ""

    @property
    def needed(self) -> bool:
        """As it stands in the template."""
        return self.by is not None and not self.narrower


class Replay:
    """Decides a recording again.

    Args:
        policies: all that there are.
        asked: the recording, without repetitions.

    Attributes:
        asked: what of it is about principals that have one of the policies; others' policies are not known here.
    """

    def __init__(self, policies: Sequence[Policy], asked: Iterable[Asked]) -> None:
        self._policies = policies
        known = {role for policy in policies if policy.kind == "identity" for role in policy.governs}
        self.asked = [each for each in asked if _role(each.decision) in {"", *known}]

    def allows(self, decision: Decision, policy: Policy | None = None, changed: Document | None = None) -> bool:
        """What is decided when one policy has another document."""
        identity, own = list[Document](), None
        for each in self._policies:
            if _concerns(each, decision):
                document = changed if each is policy and changed is not None else each.document
                if each.kind == "identity":
                    identity.append(document)
                else:
                    own = document
        return iam_hooks.permits(decision, identity, own)

    def disagreements(self) -> list[Asked]:
        """What these policies decide otherwise than it was decided."""
        return [each for each in self.asked if self.allows(each.decision) != each.decision.allowed]

    def all_findings(self) -> list[Finding]:
        """Of all policies."""
        return [finding for policy in self._policies for finding in self.findings(policy)]

    def findings(self, policy: Policy) -> Iterator[Finding]:
        """Of each thing that a policy says; what belongs to something needless is not told as well."""
        concerned = [each for each in self.asked if _concerns(policy, each.decision)]
        needless = set[int]()
        for grant in grants(policy):
            if grant.statement in needless:
                continue
            statement = policy.statements[grant.statement]
            questions = concerned
            if statement["Effect"] == "Deny" or grant.kind == "condition":
                questions = [*concerned, *_near(statement, concerned)]
            by = self._first(questions, policy, without(policy.document, grant))
            if by is None and grant.kind == "statement":
                needless.add(grant.statement)
            yield Finding(policy, grant, by, self._narrower(policy, grant, concerned) if by else "")

    def _first(self, asked: Iterable[Asked], policy: Policy, changed: Document) -> Asked | None:
        """The first that is decided otherwise with another document."""
        for each in asked:
            if self.allows(each.decision, policy, changed) != self.allows(each.decision):
                return each
        return None

    def _narrower(self, policy: Policy, grant: Grant, asked: Sequence[Asked]) -> str:
        """What a wildcard could be narrowed to without any change to what was allowed; empty when to nothing."""
        statement = policy.statements[grant.statement]
        if "*" not in grant.value or grant.kind not in ("action", "resource") or statement["Effect"] == "Deny":
            return ""
        if grant.kind == "resource" and policy.kind == "resource":  # it is the policy's own, however it is written
            return ""
        alone = {"Statement": [{**statement, grant.kind.capitalize(): grant.value}]}
        seen = {
            each.decision.action if grant.kind == "action" else each.decision.resource
            for each in asked
            if iam_hooks.permits(each.decision, [alone], None if _role(each.decision) else alone)
        }
        narrowed = narrower(grant.value, seen)
        if narrowed == grant.value or self._first(asked, policy, without(policy.document, grant, narrowed)):
            return ""
        return narrowed


def _concerns(policy: Policy, decision: Decision) -> bool:
    """Whether a decision looks at a policy."""
    if policy.kind == "identity":
        return _role(decision) in policy.governs
    if policy.kind == "trust":
        return decision.action == "sts:AssumeRole" and decision.resource in policy.governs
    return any(f"{decision.resource}:".startswith((f"{arn}:", f"{arn}/")) for arn in policy.governs)


def _near(statement: Mapping[str, Any], asked: Sequence[Asked]) -> Iterator[Asked]:
    """What was asked, each time with another value of a condition's key, which nobody sent."""
    for pairs in statement.get("Condition", {}).values():
        for key, values in pairs.items():
            for value in (*listed(values), _FOREIGN):
                for each in asked:
                    other = each.decision._replace(context={**each.decision.context, key.lower(): value})
                    yield Asked(other, f"had {key} been {value}")


def _role(decision: Decision) -> str:
    """The name of the role in whose session it was asked; empty for a service."""
    found = re.search(r":assumed-role/([^/]+)/", decision.principal)
    return found[1] if found else ""
