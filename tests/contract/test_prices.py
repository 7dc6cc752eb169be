"""The price book is whole and consistent, and the documents print its prices."""

import ast
import json
import re
import subprocess
import sys
from datetime import date
from itertools import chain

import botocore.session
import pytest
from samcli.yamlhelper import yaml_parse

import prices
from prices.refresh import text
from tests.contract.conftest import ROOT

BOOK = json.loads((ROOT / "functions/prices/book.json").read_text())
EAST = BOOK["regions"]["us-east-1"]
ENTRIES = [(region, item, entry) for region, rows in BOOK["regions"].items() for item, entry in rows.items()]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PER = {
    r"(?:an|per) hour": ("hour", 1),
    r"(?:a|per) minute": ("minute", 1),
    r"(?:a|per) month": ("month", 1),
    r"(?:a|per) GB": ("GB", 1),
    r"(?:a|per) (?:million|1M)(?: requests)?": ("request", 1e6),
}
# Sums and products of prices say in their clause that they are none of the book's own.
NO_LIST_PRICE = re.compile(
    r"\b(about|derived|estimated|measured|together|half|saved|up to|at most)\b"
    r"|a month (?: *\$|```)"  # the sum of a receipt that is shown
)


def per_unit(unit: str, times: float) -> list[float]:
    return [entry["dollars"] * times for entry in EAST.values() if entry["unit"] in (unit, f"{unit}-month")]


def printed(value: float, words: str) -> bool:
    """Return whether a value, rounded to the digits that a page prints, is what it prints."""
    digits = len(words.partition(".")[2])
    return round(value, digits) == float(words)


def amounts() -> list[tuple[str, str, str]]:
    """Return page, clause and amount of each list price that a page prints with its unit."""
    return [
        (page.name, clause, f"{match[1]} {match[2]}")
        for page in PAGES
        for clause in re.split(r"[;:|()]|, |\. ", page.read_text().replace("\n", " "))
        if not NO_LIST_PRICE.search(clause)
        for match in re.finditer(rf"\$(\d+(?:\.\d+)?) ({'|'.join(PER)})\b", clause)
    ]


def test_pages_print_the_books_prices():
    found = amounts()
    assert len(found) >= 8
    wrong = []
    for page, clause, amount in found:
        number, _, words = amount.partition(" ")
        unit, times = next(value for pattern, value in PER.items() if re.fullmatch(pattern, words))
        multiples = [n * each for each in per_unit(unit, times) for n in (1, 2)]  # two instances train by default
        if not any(printed(each, number) for each in multiples):
            wrong.append(f"{page}: ${amount} in: {clause}")
    assert wrong == []


@pytest.mark.parametrize("page", ["machines", "training"])
def test_tables_of_machines_have_the_books_prices(page):
    """The column "$ an hour" begins with EC2's price of the row's type, or with the estimate of its price on spot."""
    rows = re.findall(r"^\| \**(\w+\.\w+)\**( on spot)? \| ([\d.]+)", (ROOT / f"docs/{page}.md").read_text(), re.M)
    assert len(rows) >= 2
    for kind, spot, words in rows:
        share = prices.spot_share() if spot else 1
        assert printed(EAST[f"ec2/{kind}"]["dollars"] * share, words), f"{kind}: {words}"


def test_page_counts_prices_and_their_sources():
    rows = {}
    for item, entry in EAST.items():
        rows.setdefault(item.partition("/")[0], []).append(1 + len(entry.get("also", ())))
    expected = [
        (service, str(len(each)), f"{min(each)} to {max(each)}" if min(each) < max(each) else str(min(each)))
        for service, each in rows.items()
    ]
    found = re.findall(r"^\| `([\w-]+)` \| (\d+) \| ([\d to]+) \|", (ROOT / "docs/prices.md").read_text(), re.MULTILINE)
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("component", ["hosting", "training", "processing"])
def test_sagemaker_costs_ec2_times_the_ratio_of_the_family(component):
    """1.2 for C, M and R; 1.25 for GPUs, and 1.4 for their xlarge size."""
    types = [each for each in prices.items(component, "us-east-1") if each.startswith("ml.")]
    assert len(types) > 50
    for kind in types:
        gpus, size = kind.startswith("ml.g"), kind.rpartition(".")[2]
        ratio = (1.4 if size == "xlarge" else 1.25) if gpus else 1.2
        ours = EAST[f"{component}/{kind}"]["dollars"]
        assert ours == pytest.approx(ratio * EAST[f"ec2/{kind.removeprefix('ml.')}"]["dollars"], rel=0.0035), kind


@pytest.mark.parametrize(
    ("component", "shape"),
    [
        ("hosting", "ProductionVariantInstanceType"),
        ("training", "TrainingInstanceType"),
        ("processing", "ProcessingInstanceType"),
    ],
)
def test_aws_accepts_each_instance_type_that_has_a_price(component, shape):
    accepted = botocore.session.get_session().get_service_model("sagemaker").shape_for(shape).enum
    for region in prices.regions():
        assert {each for each in prices.items(component, region) if each.startswith("ml.")} <= set(accepted)


def test_defaults_of_the_template_have_prices():
    parameters = yaml_parse((ROOT / "template.yaml").read_text())["Parameters"]
    training, serving = (parameters[f"{each}InstanceType"]["Default"] for each in ("Training", "Serving"))
    assert {f"training/{training}", f"hosting/{serving}", f"processing/{serving}"} <= EAST.keys()
    assert f"ec2/{training.removeprefix('ml.')}" in EAST


def test_every_price_has_a_unit_a_day_and_sources_that_are_named():
    used = set()
    for region, item, entry in ENTRIES:
        assert entry.keys() <= {"dollars", "unit", "read", "source", "also", "then", "estimated"}, item
        assert entry["dollars"] > 0, item
        assert date.fromisoformat(entry["read"]) >= date(2026, 1, 1), f"{region}: {item}"
        assert re.fullmatch(r"[A-Za-z-]+", entry["unit"]), item
        begins, each = zip(*entry.get("then", [(1, 0)]), strict=True)
        assert list(begins) == sorted(begins), item
        assert [entry["dollars"], *each] == sorted([entry["dollars"], *each], reverse=True), item
        used |= {entry["source"], *entry.get("also", ())}
        assert entry["source"] not in entry.get("also", ()), item
        assert (entry["source"] in ("spot-advisor", "volume-ratio")) == entry.get("estimated", False), item
    used |= {each["source"] for each in BOOK["shares"].values()}
    assert used == BOOK["sources"].keys()


def test_shares_are_no_prices():
    """So prices that are tripled triple what is paid, also on spot."""
    (share,) = BOOK["shares"].values()
    assert 0 < share["share"] < 1
    assert share["estimated"]
    assert not [item for rows in BOOK["regions"].values() for item in rows if item.endswith("share")]


def test_book_has_the_form_that_a_refresh_writes():
    assert text(BOOK) == (ROOT / "functions/prices/book.json").read_text()


def test_tiers_are_paid_one_after_the_other():
    """334 million REST requests: 333 at 3.50 and one at 2.80. 10,241 GB out: 10,240 at 0.09 and one at 0.085.

    160 TB out: 10 TB at 0.09, 40 TB at 0.085, 100 TB at 0.07 and 10 TB at 0.05.
    """
    assert prices.known("api-gateway/rest-request", 334e6, "us-east-1") == pytest.approx(333 * 3.50 + 2.80)
    assert prices.known("data-transfer/out", 10_241, "us-east-1") == pytest.approx(921.60 + 0.085)
    assert prices.known("data-transfer/out", 163_840, "us-east-1") == pytest.approx(921.6 + 3481.6 + 7168 + 512)
    assert prices.known("lambda/gb-second", 6e9, "us-east-1") == pytest.approx(100_000.2)


def test_price_is_of_the_region_in_which_the_program_runs(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert prices.known("logs/ingest") == 0.57
    assert prices.dollars("hosting/ml.c7i.large") is None
    with pytest.raises(KeyError, match=r"no price of hosting/ml\.c7i\.large in eu-west-1"):
        prices.known("hosting/ml.c7i.large")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert prices.known("logs/ingest") == 0.5
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert prices.here() == "us-east-1"


def test_no_other_code_has_prices_of_its_own():
    """Small ones can be told from other numbers: nobody writes 0.0000166667 for anything else."""
    small = {
        number for entry in EAST.values() for number in (entry["dollars"], entry["dollars"] * 1e3) if number < 1e-4
    }
    folders = ("benchmarks", "functions", "local", "proofs", "serving", "training")
    for path in chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders):
        tree = ast.parse(path.read_text())
        numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) if type(node.value) is float}
        assert not numbers & (small - {1e-6, 1e-5, 5e-6, 2e-5}), path.relative_to(ROOT)


def test_functions_need_no_package_for_the_book():
    """A function imports ``prices``; what asks AWS is imported by the command alone."""
    code = "import sys, prices; prices.find('kms/key'); sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "functions")})


def test_check_warns_of_old_prices():
    lint = re.search(r"^lint: \$.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert lint
    assert "-m prices age" in lint[0]
