"""What the run cost at list prices, and why these instance types."""

from typing import Any

import prices
from local import receipts
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel

_TOLERANCE = 1e-6  # dollars, for sums of rounded numbers
_HALF = 0.5  # of what an instance can answer
_NEAR = 1.1  # times the cheapest price
_REGION = "us-east-1"
# Types of two vCPUs beside which the serving type is held; that they answer as fast was not measured.
_OTHERS = (
    "ml.c5.large",
    "ml.c6i.large",
    "ml.c7i.large",
    "ml.m5.large",
    "ml.m7i.large",
    "ml.r7i.large",
    "ml.g4dn.xlarge",
)


def collect(kennel: Kennel) -> Evidence:
    """Take the receipt of the run, what Measure found, and the prices of instances from the price book."""
    run, scaling = kennel.output["run"], kennel.output["endpoint"]["scaling"]
    serving, training = run["endpoint"]["instance_type"], run["training"]
    types = dict.fromkeys((serving, *_OTHERS))
    receipt = kennel.output["receipt"]
    return {
        "receipt": receipt,
        "knee_per_second": scaling["measurement"]["knee_per_second"],
        "planned_per_second": scaling["measurement"]["rate_per_second"],
        "serving": serving,
        "training": {
            "instance_type": training["instance_type"],
            "instances": training["instance_count"],
            "sagemaker_per_hour": prices.dollars(f"training/{training['instance_type']}", region=_REGION),
            "ec2_per_hour": prices.dollars(f"ec2/{training['instance_type'].removeprefix('ml.')}", region=_REGION),
        },
        "dollars_per_hour": {each: prices.dollars(f"hosting/{each}", region=_REGION) for each in types},
    }


def per_million(dollars_per_hour: float, per_second: float) -> float:
    """Return the dollars of an instance for a million answers, when half of what it can answer is asked."""
    return dollars_per_hour / 3600 / (per_second * _HALF) * 1e6


def judge(evidence: Evidence) -> list[Check]:
    """Add the receipt up again, and price its lines again; hold the serving type against the others."""
    receipt, hours = evidence["receipt"], evidence["dollars_per_hour"]
    lines: list[dict[str, Any]] = receipt["lines"]
    total = sum(line["dollars"] or 0 for line in lines)
    wrong = [line["what"] for line in lines if not _is_priced(line)]
    serving = evidence["serving"]
    cheapest = min((name for name in hours if hours[name] is not None), key=lambda name: hours[name])
    return [
        Check(
            f"the {len(lines)} parts of the receipt add up to ${receipt['dollars']:.4f}",
            bool(lines) and abs(total - receipt["dollars"]) < _TOLERANCE * len(lines) + 5e-5,
        ),
        Check(
            "each part costs its quantity times its list price" if not wrong else f"priced otherwise: {wrong}",
            not wrong,
        ),
        Check(
            f"one {serving} was measured: {evidence['knee_per_second']:,.0f} requests/s in time, "
            f"${per_million(hours[serving], evidence['knee_per_second']):.2f} a million at half load",
            evidence["knee_per_second"] > 0,
        ),
        Check(
            f"{serving} costs ${hours[serving]:.4f} an hour, at most a tenth more than the cheapest of the table: "
            f"{cheapest}, ${hours[cheapest]:.4f}",
            hours[serving] <= _NEAR * hours[cheapest],
        ),
    ]


def _is_priced(line: dict[str, Any]) -> bool:
    """Whether a part of the receipt has the price of the book, on demand or on spot capacity."""
    listed = prices.dollars(line["item"], line["quantity"], _REGION)
    if listed is None or line["dollars"] is None:
        return listed is line["dollars"]
    return any(abs(share * listed - line["dollars"]) < _TOLERANCE for share in (1.0, prices.spot_share()))


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    receipt, rate = evidence["receipt"], evidence["knee_per_second"]
    training = evidence["training"]
    largest = sorted(receipt["lines"], key=lambda line: -(line["dollars"] or 0))[:3]
    rows = [
        ("this run", f"${receipt['dollars']:.4f} at list prices with this machine's times"),
        *(
            (line["state"], f"${line['dollars'] or 0:.4f}: {line['what']}, {receipts.quantity(line)}")
            for line in largest
        ),
        ("from now on", f"${receipt['dollars_per_month']:,.2f} a month if nobody asks and nothing is torn down"),
        (
            "training",
            f"{training['instances']} × {training['instance_type']}, each ${training['sagemaker_per_hour']:.4f} "
            f"an hour on SageMaker and ${training['ec2_per_hour']:.4f} on EC2",
        ),
    ]
    for name, dollars in evidence["dollars_per_hour"].items():
        if dollars is not None:
            chosen = " ← serves" if name == evidence["serving"] else ""
            rows.append((name, f"${dollars:.4f} an hour, ${per_million(dollars, rate):.2f} a million{chosen}"))
    return rows
