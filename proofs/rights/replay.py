"""Decides the recording again with policies that lack one grant each. A grant is unneeded if no decision changes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class Question:
    """A recorded decision, and what decides it again.

    Attributes:
        recorded: the decision.
        policies: those on which it depends.
    """

    recorded: RecordedDecision
    policies: Sequence[Policy]

    @cached_property
    def allowed(self) -> bool:
        """What the policies decide as they are deployed."""
        return self.decide()

    def depends_on(self, policy: Policy) -> bool:
        """Whether the decision depends on a policy."""
        return any(each is policy for each in self.policies)

    def decide(self, policy: Policy | None = None, changed: Document | None = None) -> bool:
        """Return the decision, optionally with another document for one policy."""
        identity_documents, resource_document = list[Document](), None
        for each in self.policies:
            document = changed if each is policy and changed is not None else each.document
            if each.kind == "identity":
                identity_documents.append(document)
            else:
                resource_document = document
        return iam_hooks.permits(self.recorded.decision, identity_documents, resource_document)


class Replay:
    """Decides a recording again. The decisions about principals without one of the policies are left out."""

    def __init__(self, policies: Sequence[Policy], recorded: Iterable[RecordedDecision]) -> None:
        """Select the decisions that the policies can explain.

        Args:
            policies: all policies of the stack.
            recorded: the recording without repetitions.
        """
        self._policies = policies
        roles = {"", *(role for policy in policies if policy.kind == "identity" for role in policy.governs)}
        self._questions = [
            Question(each, [policy for policy in policies if _concerns(policy, each.decision)])
            for each in recorded
            if _role(each.decision) in roles
        ]

    def disagreements(self) -> list[RecordedDecision]:
        """Return the decisions that the replay makes differently."""
        return [each.recorded for each in self._questions if each.allowed != each.recorded.decision.allowed]

    def all_findings(self) -> list[Finding]:
        """Return the findings about all policies."""
        return [finding for policy in self._policies for finding in self.findings(policy)]

    def findings(self, policy: Policy) -> Iterator[Finding]:
        """Yield a finding about each grant of a policy; parts of an unneeded statement get none."""
        concerned = [each for each in self._questions if each.depends_on(policy)]
        variations, unneeded_statements = dict[int, list[Question]](), set[int]()
        for grant in grants(policy):
            if grant.statement in unneeded_statements:
                continue
            statement = policy.statements[grant.statement]
            questions = concerned
            if statement["Effect"] == "Deny" or grant.kind == "condition":
                if grant.statement not in variations:
                    variations[grant.statement] = list(_variations(statement, concerned))
                questions = [*concerned, *variations[grant.statement]]
            needed_by = _first_change(questions, policy, without(policy.document, grant))
            if needed_by is None and grant.kind == "statement":
                unneeded_statements.add(grant.statement)
            yield Finding(policy, grant, needed_by, _narrower(policy, grant, concerned) if needed_by else "")


def _first_change(questions: Iterable[Question], policy: Policy, changed: Document) -> RecordedDecision | None:
    """Return the first decision that another document changes."""
    return next((each.recorded for each in questions if each.decide(policy, changed) != each.allowed), None)


def _narrower(policy: Policy, grant: Grant, questions: Sequence[Question]) -> str:
    """Return a narrower wildcard that changes no decision; empty if there is none."""
    statement = policy.statements[grant.statement]
    if "*" not in grant.value or grant.kind not in ("action", "resource") or statement["Effect"] == "Deny":
        return ""
    if grant.kind == "resource" and policy.kind == "resource":  # It can only mean the policy's own resource.
        return ""
    alone = {"Statement": [{**statement, grant.kind.capitalize(): grant.value}]}
    matched = {
        decision.action if grant.kind == "action" else decision.resource
        for decision in (each.recorded.decision for each in questions)
        if iam_hooks.permits(decision, [alone], None if _role(decision) else alone)
    }
    narrowed = narrower(grant.value, matched)
    if narrowed == grant.value or _first_change(questions, policy, without(policy.document, grant, narrowed)):
        return ""
    return narrowed


def _concerns(policy: Policy, decision: Decision) -> bool:
    """Whether a decision depends on a policy."""
    if policy.kind == "identity":
        return _role(decision) in policy.governs
    if policy.kind == "trust":
        return decision.action == "sts:AssumeRole" and decision.resource in policy.governs
    return any(f"{decision.resource}:".startswith((f"{arn}:", f"{arn}/")) for arn in policy.governs)


def _variations(statement: Mapping[str, Any], questions: Sequence[Question]) -> Iterator[Question]:
    """Yield questions that were not asked: the recorded ones with other values of the statement's condition keys."""
    for pairs in statement.get("Condition", {}).values():
        for key, values in pairs.items():
            for value in (*as_list(values), _FOREIGN):
                for each in questions:
                    decision = each.recorded.decision
                    other = decision._replace(context={**decision.context, key.lower(): value})
                    yield Question(RecordedDecision(other, f"if {key} were {value}"), each.policies)


def _role(decision: Decision) -> str:
    """Return the name of the role whose session asked; empty for a service."""
    match = re.search(r":assumed-role/([^/]+)/", decision.principal)
    return match[1] if match else ""
