"""Decides the recording again with policies that lack one grant each. A grant is unneeded if no decision changes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.iam import hooks as iam_hooks
from cloud.iam.hooks import Decision
from proofs.rights.policies import Document, Grant, Policy, as_list, grants, narrower, without

_FOREIGN = "999999999999"  # a value that no condition of the template names: another account, namespace or prefix
iam_hooks.know_principals()  # As the cloud does that made the recording.


@dataclass(frozen=True)
class RecordedDecision:
    """A decision of IAM, and the part of the recording in which it was made first."""

    decision: Decision
    part: str = ""


@dataclass(frozen=True)
class Finding:
    """Whether a grant is needed.

    Attributes:
        policy: that contains the grant.
        grant: as deployed.
        needed_by: the first decision that changes without the grant; None if no decision does.
        narrower: a narrower grant that has the same effect; empty if there is none.
    """

    policy: Policy
    grant: Grant
    needed_by: RecordedDecision | None
    narrower: str = ""

    @property
    def needed(self) -> bool:
        """Whether the grant is needed exactly as the template has it."""
        return self.needed_by is not None and not self.narrower


class Replay:
    """Decides a recording again.

    Attributes:
        recorded: the decisions about principals with one of the policies; the policies of others are not known.
    """

    def __init__(self, policies: Sequence[Policy], recorded: Iterable[RecordedDecision]) -> None:
        """Select the decisions that the policies can explain.

        Args:
            policies: all policies of the stack.
            recorded: the recording without repetitions.
        """
        self._policies = policies
        roles = {role for policy in policies if policy.kind == "identity" for role in policy.governs}
        self.recorded = [each for each in recorded if _role(each.decision) in {"", *roles}]

    def allows(self, decision: Decision, policy: Policy | None = None, changed: Document | None = None) -> bool:
        """Return the decision, optionally with another document for one policy."""
        identity_documents, resource_document = list[Document](), None
        for each in self._policies:
            if _concerns(each, decision):
                document = changed if each is policy and changed is not None else each.document
                if each.kind == "identity":
                    identity_documents.append(document)
                else:
                    resource_document = document
        return iam_hooks.permits(decision, identity_documents, resource_document)

    def disagreements(self) -> list[RecordedDecision]:
        """Return the decisions that the replay makes differently."""
        return [each for each in self.recorded if self.allows(each.decision) != each.decision.allowed]

    def all_findings(self) -> list[Finding]:
        """Return the findings about all policies."""
        return [finding for policy in self._policies for finding in self.findings(policy)]

    def findings(self, policy: Policy) -> Iterator[Finding]:
        """Yield a finding about each grant of a policy; parts of an unneeded statement get none."""
        concerned = [each for each in self.recorded if _concerns(policy, each.decision)]
        unneeded_statements = set[int]()
        for grant in grants(policy):
            if grant.statement in unneeded_statements:
                continue
            statement = policy.statements[grant.statement]
            questions = concerned
            if statement["Effect"] == "Deny" or grant.kind == "condition":
                questions = [*concerned, *_variations(statement, concerned)]
            needed_by = self._first_change(questions, policy, without(policy.document, grant))
            if needed_by is None and grant.kind == "statement":
                unneeded_statements.add(grant.statement)
            yield Finding(policy, grant, needed_by, self._narrower(policy, grant, concerned) if needed_by else "")

    def _first_change(
        self, recorded: Iterable[RecordedDecision], policy: Policy, changed: Document
    ) -> RecordedDecision | None:
        """Return the first decision that another document changes."""
        for each in recorded:
            if self.allows(each.decision, policy, changed) != self.allows(each.decision):
                return each
        return None

    def _narrower(self, policy: Policy, grant: Grant, recorded: Sequence[RecordedDecision]) -> str:
        """Return a narrower wildcard that changes no decision; empty if there is none."""
        statement = policy.statements[grant.statement]
        if "*" not in grant.value or grant.kind not in ("action", "resource") or statement["Effect"] == "Deny":
            return ""
        if grant.kind == "resource" and policy.kind == "resource":  # It can only mean the policy's own resource.
            return ""
        alone = {"Statement": [{**statement, grant.kind.capitalize(): grant.value}]}
        matched = {
            each.decision.action if grant.kind == "action" else each.decision.resource
            for each in recorded
            if iam_hooks.permits(each.decision, [alone], None if _role(each.decision) else alone)
        }
        narrowed = narrower(grant.value, matched)
        if narrowed == grant.value or self._first_change(recorded, policy, without(policy.document, grant, narrowed)):
            return ""
        return narrowed


def _concerns(policy: Policy, decision: Decision) -> bool:
    """Whether a decision depends on a policy."""
    if policy.kind == "identity":
        return _role(decision) in policy.governs
    if policy.kind == "trust":
        return decision.action == "sts:AssumeRole" and decision.resource in policy.governs
    return any(f"{decision.resource}:".startswith((f"{arn}:", f"{arn}/")) for arn in policy.governs)


def _variations(statement: Mapping[str, Any], recorded: Sequence[RecordedDecision]) -> Iterator[RecordedDecision]:
    """Yield questions that were not asked: the recorded ones with other values of the statement's condition keys."""
    for pairs in statement.get("Condition", {}).values():
        for key, values in pairs.items():
            for value in (*as_list(values), _FOREIGN):
                for each in recorded:
                    other = each.decision._replace(context={**each.decision.context, key.lower(): value})
                    yield RecordedDecision(other, f"if {key} were {value}")


def _role(decision: Decision) -> str:
    """Return the name of the role whose session asked; empty for a service."""
    match = re.search(r":assumed-role/([^/]+)/", decision.principal)
    return match[1] if match else ""
