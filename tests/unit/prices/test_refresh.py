"""``python -m prices``: what it asks AWS, what it writes, and what it says when it cannot."""

import json
import re
import threading
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import prices
from prices.__main__ import main
from prices.catalogue import CATALOGUE
from prices.price_list import Listed
from prices.refresh import RefreshError, merged, write
from tests.unit.prices.recorded import IRELAND, product

PAGE = 2  # products in one answer, so that several are needed


class PriceList(ThreadingHTTPServer):
    """Answers GetProducts as AWS does, page by page, from recorded facts; or refuses with an error's code."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.products, self.refusal, self.asked = dict(IRELAND), "", []


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
        if self.server.refusal:
            return self._answer(400, {"__type": self.server.refusal, "Message": "no"})
        self.server.asked.append(request)
        begin = int(request.get("NextToken", 0))
        texts = [
            text
            for text in self.server.products.get(request["ServiceCode"], [])
            if json.loads(text)["product"]["attributes"].get("location") != "Any"
            or {"Type": "TERM_MATCH", "Field": "location", "Value": "Any"} in request["Filters"]
        ]
        more = {"NextToken": str(begin + PAGE)} if begin + PAGE < len(texts) else {}
        return self._answer(200, {"FormatVersion": "aws_v1", "PriceList": texts[begin : begin + PAGE], **more})

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def price_list(monkeypatch):
    server = PriceList()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def book(tmp_path, monkeypatch):
    """A copy of the book, and an environment without an account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    path = tmp_path / "book.json"
    path.write_text(prices.BOOK.read_text())
    monkeypatch.setattr(prices, "BOOK", path)
    return path


def entries(path, region):
    return json.loads(path.read_text())["regions"][region]


def test_refresh_writes_what_aws_lists_with_day_and_source_and_leaves_the_rest(price_list, book, capsys):
    before, east = entries(book, "eu-west-1"), entries(book, "us-east-1")
    assert main(["refresh", "--region", "eu-west-1"]) == 0
    after, today = entries(book, "eu-west-1"), datetime.now(UTC).date().isoformat()
    assert after["hosting/ml.m5.xlarge"] == {"dollars": 0.257, "unit": "hour", "read": today, "source": "price-list"}
    assert after["api-gateway/rest-request"]["then"] == [[333e6, 3.19e-06], [1e9, 2.71e-06], [20e9, 1.72e-06]]
    assert after["data-transfer/out"] == before["data-transfer/out"]  # AWS did not answer it.
    assert "hosting/ml.c7i.large" not in after  # Neither has the book it nor the answer.
    assert "ec2/m6in.large" not in after  # The book has it for no region.
    words = capsys.readouterr().out
    assert "hosting/ml.m5.xlarge: new 0.257" in words
    assert "data-transfer/out: AWS lists none" in words
    assert json.loads(book.read_text())["sources"]["price-list"].startswith("AWS's Price List API")
    assert entries(book, "us-east-1") == east
    assert main(["refresh", "--region", "eu-west-1"]) == 0
    assert re.search(r"eu-west-1: \d+ prices as before, 0 other", capsys.readouterr().out)


def test_book_keeps_one_line_for_each_price(price_list, book):
    main(["refresh", "--region", "eu-west-1"])
    lines = book.read_text().splitlines()
    number = sum(len(each) for each in json.loads(book.read_text())["regions"].values())
    assert sum('"dollars"' in line for line in lines) == number


def test_each_service_is_asked_for_the_region_page_by_page(price_list):
    main(["refresh", "--region", "eu-west-1"])
    assert {each["ServiceCode"] for each in price_list.asked} == {offer.service for offer in CATALOGUE.values()}
    assert any("NextToken" in each for each in price_list.asked)
    for each in price_list.asked:
        region = {"Type": "TERM_MATCH", "Value": "eu-west-1"}
        anywhere = {"Type": "TERM_MATCH", "Field": "location", "Value": "Any"} in each["Filters"]
        assert [row for row in each["Filters"] if row["Field"] in ("regionCode", "fromRegionCode")] == [
            region | {"Field": "fromRegionCode" if each["ServiceCode"] == "AWSDataTransfer" else "regionCode"}
        ][anywhere:]


def test_dashboard_is_listed_once_for_all_regions(price_list, book):
    # Seen in programs of others: location is "Any" and regionCode empty, so a filter for a region finds none.
    dashboard = product(
        "AmazonCloudWatch", "DashboardsUsageHour", "Dashboards", [(0, "0"), (3, "3.0000000000")], location="Any"
    )
    price_list.products["AmazonCloudWatch"] = [*IRELAND["AmazonCloudWatch"], dashboard]
    main(["refresh", "--region", "eu-west-1"])
    assert entries(book, "eu-west-1")["cloudwatch/dashboard"]["dollars"] == 3.0


def test_check_shows_the_differences_and_writes_nothing(price_list, book, capsys):
    before = book.read_text()
    assert main(["refresh", "--region", "eu-west-1", "--check"]) == 0
    assert "hosting/ml.m5.xlarge: new 0.257" in capsys.readouterr().out
    assert book.read_text() == before


def test_price_that_is_far_from_the_old_one_is_left_and_named(price_list, book, capsys):
    price_list.products["AWSLambda"] = [product("AWSLambda", "EU-Request", "1M requests", [(0, "0.2000000000")])]
    main(["refresh", "--region", "eu-west-1"])
    assert entries(book, "eu-west-1")["lambda/request"]["dollars"] == 2e-07
    assert (
        "lambda/request: AWS lists 0.2 for one 1M requests, far from 2e-07 for one request" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ("AccessDeniedException", "these credentials lack the right pricing:GetProducts"),
        ("UnrecognizedClientException", "AWS does not accept these credentials (UnrecognizedClientException)"),
        ("ExpiredTokenException", "AWS does not accept these credentials (ExpiredTokenException)"),
        ("InternalErrorException", "the Price List API answered InternalErrorException: no"),
    ],
)
def test_refusals_are_one_sentence_and_the_book_stays(price_list, book, capsys, refusal, sentence):
    before, price_list.refusal = book.read_text(), refusal
    assert main(["refresh", "--all"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert book.read_text() == before


def test_without_credentials_the_sentence_says_what_is_needed(book, capsys):
    before = book.read_text()
    assert main(["refresh"]) == 1
    assert "no credentials of an AWS account were found" in capsys.readouterr().err
    assert book.read_text() == before


def test_where_nobody_answers_the_sentence_says_so(price_list, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
    assert main(["refresh"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the Price List API could not be asked" in line


def test_laptop_cloud_has_no_price_list(monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    assert main(["refresh"]) == 1
    assert "the laptop cloud has no price list; unset it" in capsys.readouterr().err


def test_unknown_region_is_named_beside_those_that_exist(capsys):
    assert main(["refresh", "--region", "eu-west-1", "--region", "mars-1"]) == 1
    assert re.search(r"there is no region 'mars-1' with SageMaker; there are .*eu-west-1", capsys.readouterr().err)


def test_book_that_cannot_be_written_stays(book):
    before = json.loads(book.read_text())
    with pytest.raises(RefreshError, match="was not written"):
        write(before, book.parent / "gone" / "book.json")
    with pytest.raises(TypeError):
        write(before | {"about": {1, 2}}, book)
    assert json.loads(book.read_text()) == before
    assert [each.name for each in book.parent.iterdir()] == ["book.json"]


def test_several_prices_for_one_id_are_left_and_named(book):
    found = merged(json.loads(book.read_text()), "us-east-1", {}, ["kms/key"], date(2026, 11, 30))
    assert found.entries["kms/key"]["dollars"] == 1.0
    assert any(sentence.startswith("kms/key: AWS lists several prices") for sentence in found.left)


def test_refreshed_price_is_used(book, monkeypatch):
    document = json.loads(book.read_text())
    found = merged(document, "us-east-1", {"kms/key": Listed(1.1, "Keys")}, [], date(2026, 12, 24))
    document["regions"]["us-east-1"] = found.entries
    document["sources"]["price-list"] = "asked"
    write(document, book)
    prices._book.cache_clear()
    try:
        price = prices.find("kms/key", "us-east-1")
        assert price == prices.Price(1.1, "month", date(2026, 12, 24), "asked")
    finally:
        monkeypatch.undo()
        prices._book.cache_clear()


def test_every_price_of_the_book_is_asked_for():
    document = json.loads(prices.BOOK.read_text())
    wanted = {item for entries in document["regions"].values() for item in entries}
    exact = {item for item in CATALOGUE if "*" not in item}
    families = {item.partition("/")[0] for item in CATALOGUE} & {"hosting", "training", "processing", "ec2"}
    assert {item for item in wanted if item not in exact and item.partition("/")[0] not in families} == set()
    assert exact <= wanted


def old_book(book, **reads):
    entry = {"dollars": 1.0, "unit": "month", "source": "estimate"}
    rows = {f"kms/{name}": entry | {"read": read} for name, read in reads.items()}
    book.write_text(
        json.dumps({"about": "", "sources": {"estimate": ""}, "shares": {}, "regions": {"us-east-1": rows}})
    )


def test_age_warns_of_prices_that_are_older_than_ninety_days_and_never_fails(book, capsys):
    old_book(book, key="2026-09-01", request="2026-08-31", other="2026-11-30")
    assert main(["age", "--today", "2026-11-30"]) == 0
    assert capsys.readouterr().out == (
        "Warning: 1 of 3 prices are older than 90 days, the oldest of 2026-08-31; with an AWS account, "
        "python -m prices refresh us-east-1 reads them again.\n"
    )
    assert main(["age", "--today", "2026-11-29"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["age", "--today", "2026-11-30", "--days", "0"]) == 0
    assert "2 of 3 prices are older than 0 days" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["-5", "9" * 20, "", "many"])
def test_age_takes_only_numbers_of_days(book, capsys, days):
    with pytest.raises(SystemExit):
        main(["age", f"--days={days}"])
    assert f"'{days}' is no number of days from 0 to 99,999" in capsys.readouterr().err


def test_estimates_do_not_age(book, capsys):
    old_book(book, key="2020-01-01")
    document = json.loads(book.read_text())
    document["regions"]["us-east-1"]["kms/key"]["estimated"] = True
    book.write_text(json.dumps(document))
    assert main(["age", "--today", "2026-11-30"]) == 0
    assert capsys.readouterr().out == ""


def test_show_prints_every_price_and_says_what_the_book_lacks(capsys):
    assert main(["show"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"price in us-east-1 +dollars +for each +read on +sources; the first of them", header)
    assert len(lines) == len(entries(prices.BOOK, "us-east-1"))
    assert any(re.match(r"hosting/ml\.c7i\.large +0\.107 +hour +2026-09-27 +2 sources", line) for line in lines)
    assert main(["show", "sa-east-1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The book has no prices of sa-east-1. Of those of us-east-1 it lacks")
    assert out.endswith("python -m prices refresh sa-east-1 asks AWS.\n")


def test_show_says_how_many_prices_of_each_kind_a_region_lacks(book, capsys):
    document = json.loads(book.read_text())
    named = {
        "us-east-1": ("hosting/ml.c7i.large", "hosting/ml.m7i.large", "sns/request"),
        "eu-west-1": ("sns/request",),
    }
    document["regions"] = {
        region: {item: document["regions"][region][item] for item in items} for region, items in named.items()
    }
    book.write_text(json.dumps(document))
    assert main(["show", "eu-west-1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "The book has 1 price of eu-west-1. Of those of us-east-1 it lacks 2 there: 2 hosting. "
        "python -m prices refresh eu-west-1 asks AWS."
    )
    assert main(["show"]) == 0
    assert "lacks" not in capsys.readouterr().out


def test_both_commands_take_a_region_with_and_without_the_option(price_list, capsys):
    assert main(["show", "eu-west-1"]) == 0
    shown = capsys.readouterr().out
    assert "price in eu-west-1 " in shown
    assert main(["show", "--region", "eu-west-1"]) == 0
    assert capsys.readouterr().out == shown
    assert main(["refresh", "--check", "eu-west-1"]) == 0
    found = capsys.readouterr().out
    assert found.startswith("eu-west-1: ")
    assert main(["refresh", "--check", "--region", "eu-west-1", "eu-west-1"]) == 0
    assert capsys.readouterr().out == found


def test_all_regions_and_one_of_them_is_a_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["refresh", "eu-west-1", "--all"])
    assert "--all is every region; name none beside it" in capsys.readouterr().err


@pytest.mark.parametrize("region", ["mars-1", ""])
def test_show_names_the_regions_where_there_is_no_such_one(capsys, region):
    assert main(["show", region]) == 1
    assert f"there is no region '{region}' with SageMaker; there are" in capsys.readouterr().err


def test_a_profile_that_does_not_exist_is_a_sentence_where_aws_is_asked(monkeypatch, capsys):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert main(["show", "sa-east-1"]) == 0
    assert main(["refresh"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prices: no credentials of an AWS account were found (The config profile (nobody)")


def test_price_of_nothing_in_the_book_is_left_and_named(book):
    document = json.loads(book.read_text())
    document["regions"]["us-east-1"]["kms/key"]["dollars"] = 0
    found = merged(document, "us-east-1", {"kms/key": Listed(1.0, "Keys")}, [], date(2026, 11, 30))
    assert found.entries["kms/key"]["dollars"] == 0
    assert any(sentence.startswith("kms/key: AWS lists 1 for one Keys, far from 0") for sentence in found.left)


def test_a_refresh_keeps_what_is_no_price_and_its_source(price_list, book):
    before = json.loads(book.read_text())
    assert main(["refresh", "--region", "eu-west-1", "--region", "eu-west-1"]) == 0
    after = json.loads(book.read_text())
    assert after["shares"] == before["shares"]
    assert after["sources"]["spot-advisor"] == before["sources"]["spot-advisor"]
