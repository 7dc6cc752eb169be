"""The trace of a request by the W3C's recommendation. The cases are those of the W3C's own test suite.

https://github.com/w3c/trace-context/blob/main/test/test.py, as of 2026-06-29.
"""

import itertools
import re
import string

import pytest

from classify.invoke import Question
from classify.trace_context import trace_of, xray_root
from serving.trace_context import caller_facts, trace_facts
from tests.unit.functions.events import rest_event

TRACE, PARENT = "12345678901234567890123456789012", "1234567890123456"
VALID = f"00-{TRACE}-{PARENT}-01"
INVOCATION = "0af76519-16cd-43dd-8448-eb211c80319c"
OWN = "0af7651916cd43dd8448eb211c80319c"
SENT = re.compile(r"id;traceparent=00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:;tracestate=(.*))?")
ACCEPTED = [
    VALID,
    f"cc-{TRACE}-{PARENT}-01",
    f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
    *(f" {VALID}", f"\t{VALID}", f"{VALID} ", f"{VALID}\t", f"\t {VALID} \t"),
]
REFUSED = [
    *("", f"{VALID}.", f"{VALID}-what-the-future-will-be-like", f"{VALID}-", f"{VALID}\n", VALID[:54]),
    f"cc-{TRACE}-{PARENT}-01.what-the-future-will-be-like",
    *(f"{version}-{TRACE}-{PARENT}-01" for version in ("ff", ".0", "0.", "000", "0000", "0", "", "CC")),
    *(f"00-{trace}-{PARENT}-01" for trace in ("0" * 32, f".{TRACE[1:]}", f"{TRACE[:31]}.", f"{TRACE}3", TRACE[:31])),
    f"00-{TRACE[:31]}A-{PARENT}-01",
    *(f"00-{TRACE}-{parent}-01" for parent in ("0" * 16, f".{PARENT[1:]}", f"{PARENT[:15]}.", f"{PARENT}7")),
    *(f"00-{TRACE}-{parent}-01" for parent in (PARENT[:15], f"{PARENT[:15]}F")),
    *(f"00-{TRACE}-{PARENT}-{flags}" for flags in (".0", "0.", "001", "1", "", "0A")),
    f"{VALID},{VALID}",  # as a function's URL joins two headers
]
KEY, OF_VENDOR = f"{string.ascii_lowercase}{string.digits}_-*/", "@a-z0-9_-*/"
SHOWN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
STATES = {  # what a caller sends, header by header, and what goes on
    ("foo=1,bar=2",): "foo=1,bar=2",
    ("",): "",
    ("foo=1", ""): "foo=1",
    ("", "foo=1"): "foo=1",
    ("foo=1,bar=2", "rojo=1,congo=2", "baz=3"): "foo=1,bar=2,rojo=1,congo=2,baz=3",
    ("foo=1,foo=1",): "foo=1",
    ("foo=1,foo=2",): "foo=1",
    ("foo=1", "foo=2"): "foo=1",
    (f"{KEY}={SHOWN}",): f"{KEY}={SHOWN}",
    (f"{KEY}{OF_VENDOR}={SHOWN}",): f"{KEY}{OF_VENDOR}={SHOWN}",
    ("foo=1 \t , \t bar=2, \t baz=3",): "foo=1,bar=2,baz=3",
    ("foo=1\t \t,\t \tbar=2,\t \tbaz=3",): "foo=1,bar=2,baz=3",
    ("\t foo=1 \t",): "foo=1",
    ("foo= 1",): "foo= 1",
    ("foo =1",): "",
    ("FOO=1",): "",
    ("foo.bar=1",): "",
    ("foo@=1,bar=2",): "foo@=1,bar=2",
    ("@foo=1,bar=2",): "",
    ("foo@@bar=1,bar=2",): "foo@@bar=1,bar=2",
    ("foo@bar@baz=1,bar=2",): "foo@bar@baz=1,bar=2",
    (",".join(MEMBERS[:10]), ",".join(MEMBERS[10:32])): ",".join(MEMBERS[:32]),
    (",".join(MEMBERS[:10]), ",".join(MEMBERS[10:33])): "",
    ("foo=1", f"{'z' * 256}=1"): f"foo=1,{'z' * 256}=1",
    ("foo=1", f"{'z' * 257}=1"): "",
    ("foo=1", f"{'t' * 241}@{'v' * 14}=1"): f"foo=1,{'t' * 241}@{'v' * 14}=1",
    ("foo=1", f"{'t' * 242}@v=1"): f"foo=1,{'t' * 242}@v=1",
    ("foo=1", f"t@{'v' * 15}=1"): f"foo=1,t@{'v' * 15}=1",
    ("foo=bar=baz",): "",
    ("foo=,bar=3",): "",
    (f"foo={'v' * 256}",): f"foo={'v' * 256}",
    (f"foo={'v' * 257}",): "",
    ("foo=1\n",): "",
    ("foo=\u00e9",): "",
}


def by_rest(*headers):
    """Return the event of a REST API, where several headers may have one name."""
    event = rest_event("POST", "/classify", "", False, dict(headers))
    several = {}
    for name, value in headers:
        several.setdefault(name, []).append(value)
    return {**event, "multiValueHeaders": several}


def by_url(*headers):
    """Return the event of a function's URL: names in lower case, and headers of one name joined by commas."""
    joined = {}
    for name, value in headers:
        joined.setdefault(name.lower(), []).append(value)
    return {"version": "2.0", "headers": {name: ",".join(values) for name, values in joined.items()}}


def next_hops(event, number=1):
    """Return trace id, parent id, flags and state that each of some attempts sends on."""
    question = Question(b"", "image/jpeg", "id", trace_of(event, INVOCATION))
    return [SENT.fullmatch(question.next_hop().ids).groups() for _ in range(number)]


@pytest.mark.parametrize("event", [by_rest, by_url])
@pytest.mark.parametrize("value", ACCEPTED)
def test_valid_traceparent_goes_on_with_an_id_of_its_own_for_each_attempt(event, value):
    hops = next_hops(event(("traceparent", value)), 3)
    assert {hop[0] for hop in hops} == {TRACE}
    assert len({PARENT, *(hop[1] for hop in hops)}) == 4


@pytest.mark.parametrize("event", [by_rest, by_url])
@pytest.mark.parametrize("value", REFUSED)
def test_invalid_traceparent_begins_a_trace_by_the_invocation(event, value):
    assert trace_of(event(("traceparent", value), ("tracestate", "foo=1")), INVOCATION) == (OWN, "", 0, "")


@pytest.mark.parametrize("event", [by_rest, by_url])
def test_request_without_traceparent_begins_a_trace_and_drops_the_state(event):
    for headers in ([], [("tracestate", "foo=1,bar=2")], [("trace-parent", VALID)], [("trace.parent", VALID)]):
        hops = next_hops(event(*headers), 3)
        assert {(hop[0], *hop[2:]) for hop in hops} == {(OWN, "00", None)}
        assert len({hop[1] for hop in hops}) == 3


@pytest.mark.parametrize("name", ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"])
def test_names_of_headers_may_have_capitals(name):
    for event, state in itertools.product((by_rest, by_url), ("TraceState", "TrAcEsTaTe", "TRACESTATE")):
        assert trace_of(event((name, VALID), (state, "foo=1")), INVOCATION) == (TRACE, PARENT, 1, "foo=1")


@pytest.mark.parametrize("event", [by_rest, by_url])
def test_two_traceparents_are_none(event):
    other = VALID.replace(TRACE, TRACE[::-1])
    for names in (("traceparent", "traceparent"), ("traceparent", "TraceParent")):
        assert trace_of(event(*zip(names, (VALID, other), strict=True)), INVOCATION).trace_id == OWN


@pytest.mark.parametrize(("flags", "sent"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3), ("fc", 0)])
def test_only_known_flags_go_on(flags, sent):
    trace = trace_of(by_url(("traceparent", f"00-{TRACE}-{PARENT}-{flags}")), INVOCATION)
    assert (trace.flags, trace.is_sampled) == (sent, flags in ("01", "03", "ff"))


@pytest.mark.parametrize("event", [by_rest, by_url])
@pytest.mark.parametrize(("sent", "goes_on"), STATES.items())
def test_tracestate_goes_on_or_is_dropped_without_the_traceparent(event, sent, goes_on):
    received = event(("traceparent", VALID), *(("tracestate", value) for value in sent))
    assert trace_of(received, INVOCATION) == (TRACE, PARENT, 1, goes_on)
    ((*_, written),) = next_hops(received)
    assert (written or "") == goes_on.replace("%", "%25").replace(" ", "%20")
    for name in ("trace-state", "trace.state"):
        assert trace_of(event(("traceparent", VALID), (name, sent[0])), INVOCATION).state == ""


def test_what_goes_on_has_at_most_1024_visible_characters_and_loses_large_members_first():
    """SageMaker's CustomAttributes takes no more."""
    large = f"large={'x' * 130}"
    members = [f"m{number}={' ' * 20}." for number in range(12)]  # 3 + 20 * 3 + 1 characters and a comma, each
    trace = trace_of(by_url(("traceparent", VALID), ("tracestate", ",".join([large, *members]))), INVOCATION)
    sent = trace.behind("i" * 256)
    kept = sent.partition(";tracestate=")[2].split(",")
    assert [each.partition("=")[0] for each in kept] == [f"m{number}" for number in range(9)]
    assert len(sent) <= 1024
    assert re.fullmatch(r"[\x21-\x7e]+", sent)
    usual = ",".join([large, *(f"m{number}={'y' * 90}" for number in range(4))])  # 512 characters
    assert trace_of(by_url(("traceparent", VALID), ("tracestate", usual)), INVOCATION).behind("id").endswith(usual)


def test_new_trace_of_an_invocation_without_a_uuid_is_random():
    first, second = (trace_of(by_url(), "request-1") for _ in range(2))
    assert first.trace_id != second.trace_id
    assert re.fullmatch("[0-9a-f]{32}", first.trace_id)
    assert trace_of(by_url(), "00000000-0000-0000-0000-000000000000").trace_id != "0" * 32


@pytest.mark.parametrize("value", [*ACCEPTED, *REFUSED])
def test_the_model_reads_traceparents_as_the_prediction_function_does(value):
    trace = trace_of(by_url(("traceparent", value)), INVOCATION)
    facts = {"trace_id": trace.trace_id, "parent_id": trace.parent_id} if trace.parent_id else {}
    assert trace_facts(value) == (facts, trace.is_sampled)


def test_the_model_reads_what_the_prediction_function_sends():
    trace = trace_of(by_url(("traceparent", VALID), ("tracestate", "foo=1")), INVOCATION).next_hop()
    facts = {"correlation_id": "Xk0VpHXqIAMFu_w=", "trace_id": TRACE, "parent_id": trace.parent_id}
    assert caller_facts(trace.behind("Xk0VpHXqIAMFu_w=")) == (facts, True)
    assert caller_facts("run-7") == ({"correlation_id": "run-7"}, False)


@pytest.mark.parametrize("value", [None, 7, ["a"], {"a": 1}, ""])
def test_the_model_takes_ids_of_any_type(value):
    assert caller_facts(value) == ({}, False)
    assert trace_facts(value) == ({}, False)


def test_the_models_log_has_no_more_of_an_id_than_256_characters():
    facts, is_recorded = caller_facts(f"{'i' * 5000};traceparent={VALID};{'x' * 5000}")
    assert (facts, is_recorded) == ({"correlation_id": "i" * 256, "trace_id": TRACE, "parent_id": PARENT}, True)


@pytest.mark.parametrize(
    ("header", "root"),
    [
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=3995c3f42cd8ad8;Sampled=1",
            "1-5759e988-bd862e3fe1be46a994272793",
        ),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=3995c3f42cd8ad8;Sampled=0", ""),
        ("Sampled=1;Root=1-5759e988-bd862e3fe1be46a994272793", "1-5759e988-bd862e3fe1be46a994272793"),
        ('Root=1-5759e988-bd862e3fe1be46a994272793"x;Sampled=1', ""),
        (f"Root=1-5759e988-{'a' * 5000};Sampled=1", ""),
        ("", ""),
    ],
)
def test_xrays_trace_is_named_where_it_is_recorded(header, root):
    assert xray_root(header) == root
