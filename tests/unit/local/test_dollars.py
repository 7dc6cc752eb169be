"""What is printed after a run about dollars."""

import json

import pytest

import prices
from local import dollars, receipts, report, run
from local.console import console
from local.stack import KeyLimits

TRIALS = [
    {"rate": 60.0, "p50_ms": 9.0, "within_limits": True},
    {"rate": 100.0, "p50_ms": 30.0, "within_limits": True},
    {"rate": 120.0, "p50_ms": None, "within_limits": False},
]


def output(instance_type="ml.c7i.large", max_instances=2):
    return {
        "run": {"endpoint": {"instance_type": instance_type, "min_instances": 1, "max_instances": max_instances}},
        "endpoint": {"scaling": {"measurement": {"knee_per_second": 100.0, "trials": TRIALS}}},
    }


@pytest.fixture(autouse=True)
def _home(monkeypatch):
    monkeypatch.setenv("AWS_REGION", prices.HOME_REGION)


def lines(table):
    out = console()
    with out.capture() as capture:
        out.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_table_has_three_sizes_and_two_doors():
    """Half of 100 requests/s: an instance at $0.11 an hour answers a million for $0.61; the REST API adds $3.50."""
    head, *rows = lines(dollars.table(output()))
    assert [row[:2] for row in rows] == [["20", "KB"], ["100", "KB"], ["500", "KB"]]
    for row in rows:
        rest, url, instances = (float(cell.strip("$")) for cell in row[2:])
        assert instances == pytest.approx(prices.known("hosting/ml.c7i.large") / 0.18, abs=0.005)
        assert rest > url + 3.5 > instances + 3.5
    assert head[0] == "photos"


def test_few_requests_a_day_cost_more_and_too_many_are_left_out():
    """10,000 a day pay an instance for 24 hours, a hundredth of what a million would."""
    words = dollars.by_day(output())
    first = float(words.partition("$")[2].split()[0])
    assert first == pytest.approx(
        100 * 24 * prices.known("hosting/ml.c7i.large"), rel=0.06
    )  # with its volume and the rest
    assert "at 1,000,000 photos a day" in words
    slow = output(max_instances=1)
    slow["endpoint"]["scaling"]["measurement"]["knee_per_second"] = 5.0
    assert "at 100,000 photos a day" in dollars.by_day(slow)
    assert "1,000,000" not in dollars.by_day(slow)
    slow["endpoint"]["scaling"]["measurement"]["knee_per_second"] = 0.1
    assert dollars.by_day(slow).endswith(": its instances cannot answer 10,000 photos a day")


def running(url, rest, p99_ms=20.0, **fields):
    by_door = {"function_url": url, "rest_api": rest}
    told = {"dollars_per_month": by_door, "p50_ms": 12.4, "p99_ms": p99_ms, "estimated": False, "reason": ""}
    return told | {"cold_ms": None, "cold_share": 0.0, "instances": 0} | fields


ESTIMATED = {"estimated": True, "reason": "nobody has measured instances"}
KEY = KeyLimits(100_000, 100.0)


ROWS = [
    {
        "requests_per_day": 1000.0,
        "function": running(0.05, 0.16, cold_ms=760.0, cold_share=0.031),
        "instances": running(81.0, 81.1, p99_ms=None, instances=1, **ESTIMATED),
    },
    {
        "requests_per_day": 10_000_000.0,
        "function": running(None, None, reason="3,000 requests at once", cold_ms=760.0, cold_share=0.001),
        "instances": running(800.5, 1900.0, instances=3, **ESTIMATED),
    },
]


def test_hostings_stand_beside_each_other_with_what_is_estimated():
    head, *found = lines(dollars.by_hosting(ROWS, KEY))
    assert head[:4] == ["photos", "a", "day", "by"]
    assert [" ".join(words) for words in found] == [
        "1,000 function $0.05 $0.16 12 / 20 ms 0.8 s (3.1%)",
        "1 instance ~$81.00 ~$81.10 ~12 ms",  # Nobody knows the slowest of a hundred.
        "10,000,000 function – *– 12 / 20 ms 0.8 s (0.1%)",
        "3 instances ~$800.50 *~$1,900.00 ~12 / 20 ms",
    ]
    assert dollars.reasons(ROWS[:1], KEY, 2) == ["instances: nobody has measured instances"]
    assert dollars.reasons(ROWS, KEY, 2) == [
        "function: 3,000 requests at once",
        "instances: nobody has measured instances",
        "instances: more than 2 are beyond max_instances of this run",
        "*: one key of the API may ask only 100,000 times a day and 100 times a second (ApiRequestsPerDay, "
        "ApiRequestsPerSecond)",
    ]
    assert len(dollars.reasons(ROWS, KEY, 3)) == 3


@pytest.mark.parametrize(
    ("per_day", "per_second", "is_beyond"), [(999, 100.0, True), (1_000, 100.0, False), (10**6, 0.011, True)]
)
def test_what_one_key_may_not_ask_in_a_day_or_a_second_is_marked(per_day, per_second, is_beyond):
    """A thousand a day are 0.0116 a second."""
    words = lines(dollars.by_hosting(ROWS[:1], KeyLimits(per_day, per_second)))[1]
    assert ("*$0.16" in words) == is_beyond
    assert "$0.05" in words


def test_a_price_that_the_book_lacks_is_said_in_the_table():
    row = ROWS[0] | {"function": running(None, None, cold_ms=760.0, cold_share=0.031)}
    assert "price not known" in " ".join(lines(dollars.by_hosting([row], KEY))[1])


def size(memory_mb, p50_ms, price):
    times = {"cold_ms": [900.0, 1100.0, 5000.0], "warm_p50_ms": p50_ms, "warm_p99_ms": 2 * p50_ms}
    return {"memory_mb": memory_mb, **times, "dollars_per_million": price}


PLANNED = {"run": {"endpoint": {"max_instances": 2}, "function": {"reserved": 0}}}
FUNCTION = {
    "name": "dogs-model",
    "version": "4",
    "note": "all requests went to version 4 at once",
    "measurement": {
        "memory_mb": 1769,
        "sizes": [size(1769, 20.0, 0.8), size(1024, 25.0, None)],
        "requests_per_day": 1000.0,
        "provisioned": 0,
        "left_out": ["3,008 MB: there was no time for it"],
        "concurrency_limit": 10,
        "table": ROWS,
    },
}


@pytest.mark.parametrize("choice", [None, {"reason": "The function is cheaper.", "table": ROWS[:1]}])
def test_run_that_deployed_a_function_tells_its_sizes_and_both_hostings(choice, capsys):
    run._print_hosting({**PLANNED, "endpoint": None, "function": FUNCTION, "choice": choice}, KEY)
    said = capsys.readouterr().out
    assert said.count("all requests went to version 4 at once\n") == 1
    assert "version 4 of the function dogs-model answers" in said
    assert "per million, by its URL, at 1,000 a day" in said
    other, chosen = (line.split() for line in said.splitlines() if " MB " in line and "left out" not in line)
    assert chosen == ["✓", "1,769", "MB", "1,100", "ms", "20.0", "ms", "40.0", "ms", "$0.80"]
    assert other[-3:] == ["price", "not", "known"]
    assert "left out: 3,008 MB: there was no time for it" in said
    assert "on 10 requests at once (by this machine's memory, at most 1,000;" in said
    assert ("The function is cheaper." in said) == (choice is not None)
    assert ("10,000,000" in said) == (choice is None)
    assert "The function stays until teardown is started. Between requests it costs nothing itself" in said


@pytest.mark.parametrize(
    ("p50_ms", "reserved", "rate", "why"),
    [
        (20.0, 0, "100", "Lambda takes 10 a second for each of them"),  # not 500
        (200.0, 10, "50", "each takes 200.0 ms"),
    ],
)
def test_a_function_answers_what_its_time_and_lambda_allow(p50_ms, reserved, rate, why):
    measured = FUNCTION["measurement"] | {"sizes": [size(1769, p50_ms, 0.8)]}
    words = report.concurrency(measured, reserved)
    assert f"answer about {rate} a second, because {why}" in words
    assert ("ModelReservedConcurrency" in words) == bool(reserved)


def test_environments_that_are_kept_warm_cost_between_requests():
    assert "Between requests it costs its 2 environments kept warm;" in report.stay(2)


@pytest.mark.parametrize("choice", [None, {"reason": "Instances are cheaper.", "table": ROWS}])
def test_run_that_deployed_instances_tells_the_other_hosting_only_if_it_chose(choice, capsys):
    capacity = [{"instances": 1, "requests_per_second": 70.0, "dollars_per_hour": 0.107}]
    promoted = output()
    promoted["endpoint"]["scaling"]["capacity"] = capacity
    run._print_hosting(promoted | {"choice": choice} | {"endpoint": promoted["endpoint"] | {"lease_hours": 5}}, KEY)
    said = capsys.readouterr().out
    assert "The endpoint is deleted in 5 hours" in said
    assert "1 instance  70 requests/s" in said
    assert ("50 / 99 %" in said) == (choice is not None)


def test_an_unknown_price_is_said():
    assert lines(dollars.table(output("ml.unknown")))[1][2:5] == ["price", "not", "known"]
    assert "price not known" in dollars.by_day(output("ml.unknown"))


@pytest.mark.parametrize(
    ("amount", "unit", "words"),
    [
        (1, "request", "1 request"),
        (12_345, "transition", "12,345 transitions"),
        (0.27777, "hour", "0.2778 hours"),
        (1_234.5678, "GB-second", "1,235 GB-seconds"),
        (0.5, "GB", "0.5 GB"),
        (0, "hour", "0 hours"),
    ],
)
def test_quantities_are_told_in_plain_numbers(amount, unit, words):
    assert receipts.quantity({"quantity": amount, "unit": unit}) == words


def test_what_costs_less_than_a_cent_a_month_is_not_told_as_nothing():
    rows = [("the key", 1.0), ("the bucket", 0.001), ("the rest", None), ("nothing", 0.0)]
    receipt = {"monthly": [{"what": what, "dollars_per_month": each} for what, each in rows]}
    assert [" ".join(words) for words in lines(receipts.monthly(receipt))] == [
        "$1.00 the key",
        "under a cent the bucket",
        "price not known the rest",
        "$0.00 nothing",
    ]


class Teardowns:
    """The executions of teardown, newest first: (the run that they are about, status, output)."""

    def __init__(self, *executions):
        self.executions = executions

    def client(self, _service):
        return self

    def list_executions(self, stateMachineArn, maxResults):
        assert stateMachineArn == "arn:teardown"
        return {"executions": [{"executionArn": str(number)} for number in range(len(self.executions))][:maxResults]}

    def describe_execution(self, executionArn):
        about, status, output = self.executions[int(executionArn)]
        event = {"detail": {"executionArn": about}} if about else {"lease": True}
        return {"status": status, "input": json.dumps(event)} | ({"output": json.dumps(output)} if output else {})


WRITTEN = {"receipt": {"lines": [], "dollars": 0.5}}


@pytest.mark.parametrize(
    ("executions", "receipt"),
    [
        (
            [("", "SUCCEEDED", {}), ("arn:other", "SUCCEEDED", {}), ("arn:run", "SUCCEEDED", WRITTEN)],
            WRITTEN["receipt"],
        ),
        ([("arn:run", "SUCCEEDED", {"receipt": {"text": "There is no receipt: Broken"}})], {}),
        ([("arn:run", "FAILED", None)], {}),
        ([("arn:run", "RUNNING", None)], {}),
        ([("arn:other", "SUCCEEDED", WRITTEN)], {}),
    ],
)
def test_receipt_of_a_stopped_run_is_that_of_its_own_teardown(executions, receipt):
    assert receipts.of_stopped(Teardowns(*executions), "arn:teardown", "arn:run", seconds=0.2) == receipt
