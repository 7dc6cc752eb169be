"""Facts of real answers of AWS's Price List API and its offer files, in the form in which GetProducts answers.

Each fact is a product's attributes, its unit, and its tiers: from how many units on, and dollars. They were read in
public repositories: tiers and units of eu-west-1 of October 2026 in mamtha4u/SDLC (pricing_eu-west-1.json; the usage
types in the script beside it, further attributes in other repositories' answers), m5.large with its reserved terms of
July 2020 and io1 of August 2018 in recordings of GetProducts (the latter is the AWS CLI's own example), the g6.xlarge
of Ohio in a report's output of that call, the usage types of CodeBuild, Step Functions and SageMaker's bills in tests
and bills that name them.
"""

import json
from typing import Any

Tier = tuple[float, str]


def product(
    service: str, usage: str, unit: str, tiers: list[Tier], begins: str = "2026-09-01", **attributes: str
) -> str:
    """Return one product's document, as it stands in an answer's PriceList."""
    return json.dumps(document(service, usage, unit, tiers, begins, **attributes))


def document(
    service: str, usage: str, unit: str, tiers: list[Tier], begins: str = "2026-09-01", **attributes: str
) -> dict[str, Any]:
    sku = f"{abs(hash((service, usage, unit, tuple(tiers)))):016X}"[:16]
    return {
        "product": {
            "productFamily": attributes.pop("productFamily", ""),
            "attributes": {"servicecode": service, "usagetype": usage, **attributes},
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term(sku, unit, tiers, begins)}},
        "publicationDate": "2026-10-01T18:47:46Z",
    }


def term(sku: str, unit: str, tiers: list[Tier], begins: str, offer: str = "JRTCKXETXF") -> dict[str, Any]:
    ends = [*(f"{begin:g}" for begin, _ in tiers[1:]), "Inf"]
    dimensions = {
        f"{sku}.{offer}.{number}": {
            "unit": unit,
            "beginRange": f"{begin:.0f}",
            "endRange": end,
            "description": "",
            "appliesTo": [],
            "rateCode": f"{sku}.{offer}.{number}",
            "pricePerUnit": {"USD": dollars},
        }
        # The price list keeps no order.
        for number, ((begin, dollars), end) in reversed(list(enumerate(zip(tiers, ends, strict=True))))
    }
    return {
        "priceDimensions": dimensions,
        "sku": sku,
        "effectiveDate": f"{begins}T00:00:00Z",
        "offerTermCode": offer,
        "termAttributes": {},
    }


IRELAND = {
    "AWSLambda": [
        product("AWSLambda", "EU-Request", "Request", [(0, "0.0000002000")], group="AWS-Lambda-Requests"),
        product("AWSLambda", "EU-Request-ARM", "Requests", [(0, "0.0000002000")], group="AWS-Lambda-Requests-ARM"),
        product(
            "AWSLambda",
            "EU-Lambda-GB-Second",
            "Lambda-GB-Second",
            [(0, "0.0000166667"), (6e9, "0.0000150000"), (15e9, "0.0000133334")],
            group="AWS-Lambda-Duration",
        ),
        product(
            "AWSLambda",
            "EU-Lambda-GB-Second-ARM",
            "Lambda-GB-Second",
            [(0, "0.0000133334"), (7.5e9, "0.0000120001"), (18.75e9, "0.0000106667")],
            group="AWS-Lambda-Duration-ARM",
        ),
        product("AWSLambda", "Global-Request", "Request", [(0, "0.0000000000")], location="Any"),
    ],
    "AmazonApiGateway": [
        product(
            "AmazonApiGateway",
            "EU-ApiGatewayRequest",
            "Requests",
            [(0, "0.0000035000"), (333e6, "0.0000031900"), (1e9, "0.0000027100"), (20e9, "0.0000017200")],
        ),
        product(
            "AmazonApiGateway",
            "EU-ApiGatewayHttpRequest",
            "Requests",
            [(0, "0.0000011100"), (300e6, "0.0000010000")],
        ),
    ],
    "AmazonSNS": [
        product("AmazonSNS", "EU-Requests-Tier1", "Requests", [(0, "0.0000000000"), (1e6, "0.0000005000")]),
    ],
    "AmazonCloudWatch": [
        product("AmazonCloudWatch", "EU-DataProcessing-Bytes", "GB", [(0, "0.5700000000")], operation="PutLogEvents"),
        product(
            "AmazonCloudWatch",
            "EU-TimedStorage-ByteHrs",
            "GB-Mo",
            [(0, "0.0300000000")],
            productFamily="Storage Snapshot",
        ),
        product("AmazonCloudWatch", "EU-CW:AlarmMonitorUsage", "Alarms", [(0, "0.1000000000")], alarmType="Standard"),
    ],
    "CodeBuild": [
        product("CodeBuild", "EU-Build-Min:Linux:g1.medium", "minutes", [(0, "0.0100000000")]),
        product("CodeBuild", "EU-Build-Min:ARM:g1.medium", "minutes", [(0, "0.0070000000")]),
        product("CodeBuild", "EU-Build-Min:Linux:Reserved:t4g.medium", "minutes", [(0, "0.0010000000")]),
    ],
    "AmazonStates": [
        product("AmazonStates", "EU-StepFunctions-Request", "Requests", [(0, "0.0000010000")]),
        product(
            "AmazonStates", "EU-StateTransition", "StateTransitions", [(0, "0.0000000000"), (4000, "0.0000250000")]
        ),
    ],
    "AmazonSageMaker": [
        product("AmazonSageMaker", "EU-Host:ml.m5.xlarge", "Hrs", [(0, "0.2570000000")], component="Hosting"),
        product("AmazonSageMaker", "EU-Train:ml.m5.xlarge", "Hrs", [(0, "0.2570000000")], component="Training"),
        product("AmazonSageMaker", "EU-Host:ml.g4dn.xlarge", "Hrs", [(0, "0.8210000000")], component="Hosting"),
        product("AmazonSageMaker", "EU-Train:ml.g4dn.xlarge", "Hrs", [(0, "0.8220000000")], component="Training"),
        product("AmazonSageMaker", "EU-Studio:KernelGateway-ml.m5.large", "Hrs", [(0, "0.1280000000")]),
        product("AmazonSageMaker", "EU-Host:VolumeUsage.gp2", "GB-Mo", [(0, "0.1540000000")]),
        product("AmazonSageMaker", "EU-Processing:VolumeUsage.gp2", "GB-Mo", [(0, "0.1100000000")]),
    ],
    "AmazonEC2": [
        product("AmazonEC2", "EU-BoxUsage:m6in.large", "Hrs", [(0, "0.1554000000")], instanceType="m6in.large"),
    ],
}
