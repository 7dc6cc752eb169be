"""The load from outside: addresses, stages, prices and figures. Nothing here is sent."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

import prices
from benchmarks import load, load_cost
from benchmarks.load import parse_stages
from benchmarks.load_run import Plan, summary, version_of
from benchmarks.load_target import EndpointWatch, Fleet, Target, sender_to, target_of
from local.home import LocalError
from prices.per_million import FUNCTION_URL, REST_API
from traffic.arrivals import Stage
from traffic.open_loop import Sample
from traffic.senders import Answer

API = "https://abc123.execute-api.eu-west-1.amazonaws.com/v1/classify"
URL = "https://abc123.lambda-url.eu-west-1.on.aws"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (API, Target(API, REST_API, False, "eu-west-1")),
        (URL, Target(f"{URL}/classify", FUNCTION_URL, False, "eu-west-1")),
        (f"{URL}/", Target(f"{URL}/classify", FUNCTION_URL, False, "eu-west-1")),
        (f"{URL}/classify", Target(f"{URL}/classify", FUNCTION_URL, False, "eu-west-1")),
        (
            "http://localhost:4566/restapis/a1/v1/_user_request_/classify",
            Target("http://localhost:4566/restapis/a1/v1/_user_request_/classify", REST_API, True, "us-east-1"),
        ),
        (
            "http://127.0.0.1:4566/_aws/lambda-url/abc/",
            Target("http://127.0.0.1:4566/_aws/lambda-url/abc/classify", FUNCTION_URL, True, "us-east-1"),
        ),
        ("http://[::1]:80/classify", Target("http://[::1]:80/classify", REST_API, True, "us-east-1")),
    ],
)
def test_an_address_says_door_and_region(address: str, target: Target) -> None:
    assert target_of(address) == target


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("abc123.execute-api.us-east-1.amazonaws.com/v1/classify", "must begin with https://"),
        ("localhost:4566/classify", "must begin with https://"),
        ("ftp://localhost/classify", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https://host:port/classify", "the address is none"),
        ("http://[::1/classify", "the address is none"),
        ("http://example.com/classify", "would travel unencrypted"),
        ("http://192.168.1.2/classify", "would travel unencrypted"),
        ("http://localhost.example.com/classify", "would travel unencrypted"),
        ("https://abc123.execute-api.us-east-1.amazonaws.com/v1/", "perhaps the page's"),
        ("https://abc123.execute-api.us-east-1.amazonaws.com/v1/breeds", "ends with /classify"),
        ("https://user:secret@example.com/classify", "before an @"),
        ("https://example.com/classify?key=secret", "leave out what follows it"),
        ("https://example.com/classify#secret", "leave out what follows it"),
    ],
)
def test_a_wrong_address_is_told_without_its_secrets(address: str, words: str) -> None:
    with pytest.raises(LocalError) as refused:
        target_of(address)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", " key", "key\n", "schlüssel"])
def test_a_key_that_cannot_be_one_is_told_and_not_printed(key: str) -> None:
    with pytest.raises(LocalError) as refused:
        sender_to(target_of(API), key, [b"photo"], 1)
    assert "KENNEL_API_KEY" in str(refused.value) if not key else "copy it once more" in str(refused.value)
    assert "schlüssel" not in str(refused.value)


def test_a_functions_url_needs_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LocalError, match="there are no AWS credentials"):
        sender_to(target_of(URL), "", [b"photo"], 1)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(LocalError, match=r"profile \(nobody\) could not be found"):
        sender_to(target_of(URL), "", [b"photo"], 1)


def test_stages_are_seconds_and_rates() -> None:
    assert parse_stages("60s@2, 2m@20,90@0.5,5min@0") == [Stage(60, 2), Stage(120, 20), Stage(90, 0.5), Stage(300, 0)]


@pytest.mark.parametrize("text", ["60@", "@2", "60s", "60s@2,", "-1s@2", "1e3s@2", "60h@2", "0s@2", "nans@1", "60s@-2"])
def test_a_wrong_stage_is_told(text: str) -> None:
    with pytest.raises(LocalError, match="must be SECONDS@RATE"):
        parse_stages(text)


def test_a_load_without_requests_is_told() -> None:
    with pytest.raises(LocalError, match="above 0"):
        parse_stages("60s@0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stages", "101s@100", "--constant"], "send 10,100 requests, more than --max-requests 10,000"),
        (["--stages", "901s@1", "--constant"], "give --max-seconds 901"),
        (["--rate", "0"], "--rate must be a number above 0"),
        (["--seconds", "nan"], "--seconds must be a number above 0"),
        (["--rate", "inf"], "--rate must be a number above 0"),
        (["--rate", "1e12"], "more than --max-requests"),
        (["--connections", "3000"], "at most 2000"),
        (["--connections", "0"], "--connections must be a number above 0"),
        (["--max-failed", "-1"], "--max-failed must be a number above 0"),
        (["--picture", "load.doc"], "must end with .png or .svg"),
        (["--rate", "0.001", "--seconds", "1"], "send no request"),
        (["--photos", "/nowhere"], "/nowhere contains no JPEG"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_sent(arguments: list[str], words: str) -> None:
    with pytest.raises(LocalError) as refused:
        load.measure([API, "--key", "k", *arguments])
    assert words in str(refused.value)


def test_counts_and_percentiles_are_those_of_a_list_that_is_counted_by_hand() -> None:
    """Of 10 answers with 1 to 10 ms the 5th is the p50, the 9th the p90, and the 10th the p99 and the longest."""
    samples = [Sample(0, milliseconds, 200) for milliseconds in range(1, 11)]
    samples += [Sample(0, 900, 429), Sample(0, 1, 503), Sample(0, 60_000, 0), Sample(0, math.inf, 0, math.inf)]
    assert summary(samples) == {
        "sent": 13,
        "answered": 12,
        "by_status": {"200": 10, "429": 1, "503": 1, "no answer": 1, "not sent": 1},
        "p50_ms": 5,
        "p90_ms": 9,
        "p99_ms": 10,
        "max_ms": 10,
    }
    assert summary([])["p99_ms"] is None


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (Answer(200, b'{"model_version": "run-1"}'), "run-1"),
        (Answer(503, b'{"model_version": "run-1"}'), ""),
        (Answer(200, b"<html>"), ""),
        (Answer(200, b"[]"), ""),
        (Answer(200, b"\xff"), ""),
    ],
)
def test_only_a_prediction_has_a_version(answer: Answer, version: str) -> None:
    assert version_of(answer) == version


def test_a_load_is_priced_by_its_parts() -> None:
    """12,000 requests with photos of 20 KB: at $3.50 a million the door is $0.042, at $0.20 their number $0.0024."""
    found = load_cost.quote(REST_API, 12_000, 600, 20_000, None, "us-east-1")
    traced = (1 + 0.05 * 19) / 20  # X-Ray's default rule at 20 requests/s
    assert found["the API's door"] == pytest.approx(0.042 + 12_000 * traced * 5e-6)
    assert found["photos into the endpoint, answers out of it"] == pytest.approx(12_000 * (17_700 + 620) * 0.016e-9)
    assert 0.0024 < (found["the function"] or 0) < 0.02
    assert set(load_cost.quote(FUNCTION_URL, 12_000, 600, 20_000, None, "us-east-1")) == set(found) - {"the API's door"}


def test_instances_that_scaling_adds_are_priced_until_it_ends_them() -> None:
    """3 more for 10 minutes of load and 20 until they go are 1.5 hours, of $0.107, with 20 GB of $0.14 a month."""
    found = load_cost.quote(REST_API, 1_000, 600, 20_000, Fleet("ml.c7i.large", 1, 4), "us-east-1")
    volume = 1.5 * 20 * prices.known("hosting/volume", 1, "us-east-1") / 730
    assert found["at most 3 more x ml.c7i.large for 30 minutes, until scaling ends them"] == pytest.approx(
        1.5 * prices.known("hosting/ml.c7i.large", 1, "us-east-1") + volume
    )
    none_more = load_cost.quote(REST_API, 1_000, 600, 20_000, Fleet("ml.c7i.large", 4, 4), "us-east-1")
    assert not any("more x" in words for words in none_more)


def test_a_price_that_the_book_lacks_is_unknown() -> None:
    found = load_cost.quote(REST_API, 1_000, 600, 20_000, Fleet("ml.c7i.large", 1, 2), "mars-1")
    assert set(found.values()) == {None}


@pytest.mark.parametrize(("size", "sent"), [(9_000, 9_000), (20_000, 17_700), (20_001, 20_000), (4_000_000, 20_000)])
def test_of_a_photo_as_much_is_sent_on_as_was_measured_for_the_next_larger_one(size: int, sent: int) -> None:
    assert load_cost.call_of(size).sent_bytes == sent


@pytest.fixture
def quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Try a load to AWS that is refused before it is sent; return what was printed."""
    monkeypatch.setattr(load, "client_of", lambda _target: None)
    (tmp_path / "rex.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(9_996))

    def quoted(answer: str | None) -> str:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return answer is not None

        printed = io.StringIO()
        monkeypatch.setattr("sys.stdin", Terminal(answer or ""))
        monkeypatch.setattr("sys.stdout", printed)
        with pytest.raises(LocalError) as refused:
            load.measure(
                [API, "--key", "k-of-tests", "--photos", str(tmp_path), "--constant", "--stages", "60s@2,9s@20"]
            )
        return printed.getvalue() + str(refused.value)

    return quoted


def test_nothing_leaves_this_machine_without_a_yes(quoted: Callable[..., str]) -> None:
    """60 s at 2/s and 9 s at 20/s are 300 requests, and one is sent first; each photo has 10 KB."""
    for answer in ("n\n", "\n", "yeah\n"):
        words = quoted(answer)
        assert words.endswith("nothing was sent")
        assert "301 requests with 3.0 MB of photos (10.0 KB each)" in words
        assert "60 s at 2/s, 9 s at 20/s" in words
        assert "cannot be read" in words
        assert "k-of-tests" not in words
    assert "there is no terminal to ask on; give --yes" in quoted(None)


class FakeAws:
    """Describes an endpoint, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __call__(self, _service: str) -> Any:
        return self

    def describe_endpoint(self, EndpointName: str) -> Any:
        if self.error:
            raise self.error
        variant = {"VariantName": "main", "CurrentInstanceCount": 2, "DesiredInstanceCount": 3}
        return {"EndpointConfigName": f"{EndpointName}-1", "ProductionVariants": [variant]}

    def describe_endpoint_config(self, EndpointConfigName: str) -> Any:
        assert EndpointConfigName == "kennel-1"
        return {"ProductionVariants": [{"InstanceType": "ml.c7i.large"}]}

    def describe_scalable_targets(self, ServiceNamespace: str, ResourceIds: list[str]) -> Any:
        assert (ServiceNamespace, ResourceIds) == ("sagemaker", ["endpoint/kennel/variant/main"])
        return {"ScalableTargets": [{"MaxCapacity": 4}]}


def test_instances_are_read_where_somebody_tells_them() -> None:
    watch = EndpointWatch(FakeAws(), "kennel")
    assert watch.fleet() == Fleet("ml.c7i.large", 2, 4)
    assert watch.counts() == (2, 3)


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (None, "only AWS and the laptop cloud"),
        (
            FakeAws(ClientError({"Error": {"Code": "AccessDenied", "Message": "no right"}}, "DescribeEndpoint")),
            "AccessDenied: no right",
        ),
        (FakeAws(NoCredentialsError()), "Unable to locate credentials"),
    ],
)
def test_a_load_goes_on_where_nobody_tells_the_instances(client: Any, words: str) -> None:
    watch = EndpointWatch(client, "kennel")
    assert watch.fleet() is None
    assert watch.counts() is None
    assert words in watch.problem


def test_the_plan_is_told_in_words() -> None:
    plan = Plan(target_of(API), [Stage(60, 2), Stage(0.5, 20)], [], 1, None)
    assert (plan.in_words(), plan.seconds) == ("60 s at 2/s, 0.5 s at 20/s", 60.5)
