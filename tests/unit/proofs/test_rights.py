"""The proof of rights on small policies, for which the right findings are known."""

import json

import pytest

from cloud.iam.authorization import DECISIONS
from cloud.iam.hooks import Decision
from local.home import LocalError
from proofs.rights.mutants import candidates, mutated
from proofs.rights.policies import Grant, Policy, grants, narrower, without
from proofs.rights.reasons import read_reasons
from proofs.rights.recording import Recording
from proofs.rights.replay import Finding, RecordedDecision, Replay
from proofs.rights.verdict import NamedFinding

ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
BUCKET = "arn:aws:s3:::b"


def allow(actions, resources, **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def policy(*statements, kind="identity", governs="r", name="R"):
    return Policy(name, kind, frozenset([governs]), {"Version": "2012-10-17", "Statement": list(statements)})


def asked(action, resource, allowed=True, **context):
    principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/r/session"
    return RecordedDecision(Decision(principal, action, resource, context, allowed, ""), "a run")


def by_service(service, action, resource, **context):
    return RecordedDecision(
        Decision(service, action, resource, {"aws:sourceaccount": ACCOUNT, **context}, True, ""), "a run"
    )


def unneeded(policies, *questions):
    """Return kind and value of each unneeded grant of the first policy."""
    findings = Replay(policies, questions).findings(policies[0])
    return [(each.grant.kind, each.grant.value) for each in findings if not each.needed_by]


def test_actions_and_resources_are_needed_by_the_calls_that_only_they_allow():
    judged = policy(allow(["s3:GetObject", "s3:PutObject"], [f"{BUCKET}/in/*", f"{BUCKET}/out/*"]))
    get, put = asked("s3:GetObject", f"{BUCKET}/in/a"), asked("s3:PutObject", f"{BUCKET}/out/a")
    assert unneeded([judged], get, put) == []
    assert unneeded([judged], get) == [("action", "s3:PutObject"), ("resource", f"{BUCKET}/out/*")]


def test_a_needed_grant_names_the_first_decision_that_changes():
    judged = policy(allow("s3:GetObject", f"{BUCKET}/*"))
    questions = [asked("s3:PutObject", f"{BUCKET}/a", allowed=False), asked("s3:GetObject", f"{BUCKET}/a")]
    assert [each.needed_by for each in Replay([judged], questions).findings(judged)] == [questions[1]] * 3


def test_an_unneeded_statement_is_found_once():
    idle = allow(["sqs:SendMessage", "sqs:ReceiveMessage"], ["x", "y"], Condition={"Bool": {"aws:Sugar": "true"}})
    judged = policy(allow("s3:GetObject", f"{BUCKET}/*"), idle)
    findings = list(Replay([judged], [asked("s3:GetObject", f"{BUCKET}/a")]).findings(judged))
    assert [(each.grant.statement, each.grant.kind) for each in findings if not each.needed_by] == [(1, "statement")]


def test_of_two_statements_that_allow_the_same_neither_is_needed():
    twice = allow("s3:GetObject", f"{BUCKET}/*")
    assert unneeded([policy(twice, twice)], asked("s3:GetObject", f"{BUCKET}/a")) == [("statement", "all of it")] * 2


def test_a_role_is_judged_by_all_of_its_policies_and_others_calls_do_not_count():
    own, shared = policy(allow("s3:GetObject", f"{BUCKET}/*")), policy(allow("s3:*", "*"), name="Shared")
    stranger = RecordedDecision(
        asked("s3:GetObject", f"{BUCKET}/a").decision._replace(principal="arn:aws:iam::1:user/u")
    )
    assert unneeded([own, shared], asked("s3:GetObject", f"{BUCKET}/a")) == [("statement", "all of it")]
    assert unneeded([own], stranger) == [("statement", "all of it")]


def test_a_condition_is_needed_when_a_call_that_differs_in_it_alone_is_refused():
    passed = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    narrow = policy(allow("iam:PassRole", ROLE, Condition=passed))
    call = asked("iam:PassRole", ROLE, **{"iam:PassedToService": "sagemaker.amazonaws.com"})
    assert unneeded([narrow], call) == []
    wide = policy(allow("iam:*", "*"), name="Wide")
    assert unneeded([narrow, wide], call) == [("statement", "all of it")]


def test_a_denial_is_needed_for_calls_that_were_not_made():
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [BUCKET, f"{BUCKET}/*"]}
    tls = policy(
        {**statement, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        kind="resource",
        governs=BUCKET,
        name="B",
    )
    role = policy(allow("s3:GetObject", f"{BUCKET}/*"))
    assert unneeded([tls, role], asked("s3:GetObject", f"{BUCKET}/a")) == [("resource", BUCKET)]


def test_a_key_needs_its_own_policy_as_well():
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    owner = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    alarms = allow("kms:Decrypt", "*", Principal={"Service": "cloudwatch.amazonaws.com"})
    key = policy(owner, alarms, kind="resource", governs=KEY, name="Key")
    role = policy(allow("kms:Decrypt", KEY))
    assert unneeded([key, role], asked("kms:Decrypt", KEY)) == [("statement", "all of it")]
    assert (
        unneeded([key, role], asked("kms:Decrypt", KEY), by_service("cloudwatch.amazonaws.com", "kms:Decrypt", KEY))
        == []
    )


def test_trust_is_needed_by_the_service_that_assumes_the_role():
    def trust(service):
        account = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
        return {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole", "Condition": account}

    judged = policy(trust("states.amazonaws.com"), trust("ec2.amazonaws.com"), kind="trust", governs=ROLE)
    findings = list(Replay([judged], [by_service("states.amazonaws.com", "sts:AssumeRole", ROLE)]).findings(judged))
    assert [(each.grant.statement, each.grant.kind) for each in findings if not each.needed_by] == [(1, "statement")]
    assert ("condition", "aws:SourceAccount") in [
        (each.grant.kind, each.grant.value) for each in findings if each.needed_by
    ]


def test_a_decision_that_the_replay_makes_differently_is_a_disagreement():
    right, wrong = asked("s3:GetObject", f"{BUCKET}/a"), asked("s3:GetObject", f"{BUCKET}/b", allowed=False)
    assert Replay([policy(allow("s3:GetObject", f"{BUCKET}/*"))], [right, wrong]).disagreements() == [wrong]


@pytest.mark.parametrize(
    ("pattern", "names", "narrowed"),
    [
        ("s3:b/*", ["s3:b/in/a", "s3:b/in/b"], "s3:b/in/*"),
        ("s3:b/*", ["s3:b/in/a", "s3:b/out/b"], "s3:b/*"),
        ("s3:b/*", ["s3:b/in/a"], "s3:b/in/a"),
        ("job/kennel-*", ["job/kennel-20261123-1", "job/kennel-20261124-2"], "job/kennel-*"),
        ("b/runs/*/report/*", ["b/runs/1/report/a/x", "b/runs/2/report/a/y"], "b/runs/*/report/a/*"),
        ("*", ["*"], "*"),
        ("x:*:y", ["x:1:y", "x:2:y", "x:1"], "x:*:y"),
        ("b/*.??g", ["b/one/a.jpg", "b/one/b.png", "b/one/c.jpeg"], "b/one/*.??g"),
    ],
)
def test_a_wildcard_is_narrowed_to_the_common_part(pattern, names, narrowed):
    assert narrower(pattern, names) == narrowed


def test_a_wildcard_that_could_be_narrower_is_found_with_the_narrower_one():
    judged = policy(allow("s3:GetObject", f"{BUCKET}/*"))
    questions = [asked("s3:GetObject", f"{BUCKET}/in/a"), asked("s3:GetObject", f"{BUCKET}/in/b")]
    findings = [each for each in Replay([judged], questions).findings(judged) if each.narrower]
    assert [(each.grant.kind, each.narrower, each.needed) for each in findings] == [
        ("resource", f"{BUCKET}/in/*", False)
    ]


def test_a_document_loses_a_grant_and_the_statement_with_its_last_one():
    one, two = allow(["a:A", "a:B"], ["x", "y"]), allow("a:C", "*")
    document = {"Statement": [one, two]}
    assert without(document, Grant("action", 0, "a:A", 0))["Statement"] == [{**one, "Action": ["a:B"]}, two]
    assert without(document, Grant("resource", 0, "y", 1), "z")["Statement"] == [{**one, "Resource": ["x", "z"]}, two]
    assert without(document, Grant("action", 1, "a:C", 0))["Statement"] == [one]
    assert document == {"Statement": [one, two]}


def test_a_mutant_of_the_template_lacks_one_thing_of_one_resource():
    role = {"Statement": [allow("s3:GetObject", {"Fn::Sub": "${Bucket.Arn}/*"}), allow(["a:A", "a:B"], "*")]}
    shared = {"Statement": [allow("c:C", "*")]}
    template = {
        "Resources": {
            "R": {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": role}]}},
            "Shared": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": shared}},
        }
    }
    judged = policy(*role["Statement"])
    lost = NamedFinding("R", "Sid", "a:A", Finding(judged, Grant("action", 1, "a:A", 0), None))
    alone = NamedFinding("Shared", "Sid", "c:C", Finding(policy(*shared["Statement"]), Grant("action", 0, "c:C"), None))
    assert candidates([lost, alone], template) == [lost]  # A policy needs a statement.
    changed = mutated(template, lost)["Resources"]
    assert changed["R"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] == [
        role["Statement"][0],
        allow(["a:B"], "*"),
    ]
    assert changed["Shared"]["Properties"]["PolicyDocument"] == shared


def test_a_decision_is_kept_once_for_each_part_of_the_recording(tmp_path):
    (tmp_path / "cloud").mkdir()
    file, recording = tmp_path / "cloud" / "authorizations.jsonl", Recording(tmp_path)
    get, put = (asked(action, f"{BUCKET}/a").decision for action in ("s3:GetObject", "s3:PutObject"))
    for part, decisions in (("run", [get, put, get]), ("again", [get])):
        with recording.part(part), file.open("a") as lines:
            lines.writelines(f"{json.dumps(decision._asdict())}\n" for decision in decisions)
    assert recording.unique_decisions() == [
        RecordedDecision(get, "run"),
        RecordedDecision(put, "run"),
        RecordedDecision(get, "again"),
    ]


def test_each_statement_action_resource_and_condition_is_a_grant():
    judged = policy(allow(["a:A", "a:B"], "*", Condition={"StringEquals": {"k": "v", "l": "w"}}))
    assert [(each.kind, each.value) for each in grants(judged)] == [
        ("statement", "all of it"),
        ("action", "a:A"),
        ("action", "a:B"),
        ("resource", "*"),
        ("condition", "k"),
        ("condition", "l"),
    ]


def test_reasons_are_rows_with_a_link(tmp_path):
    table = tmp_path / "permissions.md"
    row = "| `R` | `Log` | `logs:PutLogEvents` | nothing is logged here | [page](https://example.org) |"
    table.write_text(
        f"# Rights\n\n| policy | statement | grant | why | where |\n| --- | --- | --- | --- | --- |\n{row}\n"
    )
    [reason] = read_reasons(table)
    assert (reason.policy, reason.why) == ("R", "nothing is logged here")
    assert [reason.explains("R", "Log", grant) for grant in ("logs:PutLogEvents", "logs:*")] == [True, False]
    table.write_text(f"{row}\n{row}\n")
    with pytest.raises(LocalError, match="R · Log · logs:PutLogEvents has two rows"):
        read_reasons(table)
    table.write_text(row.replace("[page](https://example.org)", "somewhere"))
    with pytest.raises(LocalError, match="and a link"):
        read_reasons(table)


def test_recording_forgets_what_an_earlier_proof_left(tmp_path):
    file = tmp_path / "cloud" / DECISIONS
    file.parent.mkdir()
    file.write_text('{"old": "decision"}\n')
    recording = Recording(tmp_path)
    recording.discard()
    with recording.part("the first run"):
        file.write_text(json.dumps(Decision("arn:x", "s3:GetObject", "arn:y", {}, True, "Read")._asdict()) + "\n")
    assert [each.part for each in recording.unique_decisions()] == ["the first run"]
