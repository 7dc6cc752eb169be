"""The Lambda function, asked with the sample events and with a photo whose breed is known."""

import base64
import json
from typing import Any

from local import invoke, stack
from proofs.capstone import by_hand
from proofs.capstone.evidence import PICTURES, Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.capstone.rows import endpoint

_SUM = 1.0005  # the largest sum of probabilities that are rounded to four digits each
_UPLOADED = f"uploads/{by_hand.NAME}.jpg"


def collect(kennel: Kennel) -> Evidence:
    """Invoke the function with the sample event, with a photo of a known breed, and with that photo in the bucket."""
    s3, bucket = kennel.client("s3"), kennel.deployed.bucket
    known, photo = endpoint.golden(kennel)[0]
    sample = invoke.sample("classify", {})
    by_body = {**sample, "body": base64.b64encode(photo).decode()}
    by_key = invoke.sample("classify-s3", {"BUCKET": bucket})
    by_key["body"] = json.dumps({"s3": f"s3://{bucket}/{_UPLOADED}"})
    breeds = {**sample, "httpMethod": "GET", "resource": "/breeds", "path": "/breeds", "body": None}
    s3.put_object(Bucket=bucket, Key=_UPLOADED, Body=photo)
    try:
        answers = {
            "events/classify.json": _invoke(kennel, sample),
            "a photo in the body": _invoke(kennel, by_body),
            "a photo in the bucket": _invoke(kennel, by_key),
        }
    finally:
        s3.delete_object(Bucket=bucket, Key=_UPLOADED)
    listed = _invoke(kennel, {**breeds, "requestContext": {**breeds["requestContext"], **_BREEDS}})
    return {
        "function": f"{stack.STACK}-classify",
        "known": known["breed"],
        "answers": answers,
        "breeds": listed["answer"]["breeds"],
        PICTURES: [
            {"caption": "the photo of events/classify.json", "uri": endpoint.tile(base64.b64decode(sample["body"]))},
            {"caption": f"the photo whose breed is known: {known['breed']}", "uri": endpoint.tile(photo)},
        ],
    }


_BREEDS = {"httpMethod": "GET", "resourcePath": "/breeds", "path": "/v1/breeds"}


def _invoke(kennel: Kennel, event: dict[str, Any]) -> dict[str, Any]:
    answer = kennel.client("lambda").invoke(FunctionName=f"{stack.STACK}-classify", Payload=json.dumps(event).encode())
    document = json.loads(answer["Payload"].read())
    return {
        "error": answer.get("FunctionError", ""),
        "status": document.get("statusCode"),
        "answer": json.loads(document.get("body") or "{}"),
    }


def judge(evidence: Evidence) -> list[Check]:
    """Hold each answer against itself, against the breeds of the model, and against the breed that is known."""
    breeds, checks = evidence["breeds"], []
    for name, each in evidence["answers"].items():
        answer = each["answer"]
        shares = [item["probability"] for item in answer["top"]]
        checks += [
            Check(f"{name}: status {each['status']}", each["status"] == 200 and not each["error"]),
            Check(
                f"{name}: {len(shares)} probabilities, best first, {sum(shares):.4f} together",
                bool(shares) and shares == sorted(shares, reverse=True) and min(shares) >= 0 and sum(shares) <= _SUM,
            ),
            Check(
                f"{name}: {answer['breed']} is the first of them, and all are breeds of the model",
                answer["breed"] == answer["top"][0]["breed"]
                and answer["probability"] == shares[0]
                and {item["breed"] for item in answer["top"]} <= set(breeds),
            ),
        ]
    right = [each["answer"]["breed"] for name, each in evidence["answers"].items() if name.startswith("a photo")]
    return [
        *checks,
        Check(
            f"both ways to send a photo of a {evidence['known']} get that answer: {', '.join(right)}",
            len(right) == 2 and set(right) == {evidence["known"]},
        ),
        Check(f"the model knows {len(breeds)} breeds, each once", len(set(breeds)) == len(breeds) > 1),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = [("function", evidence["function"])]
    for name, each in evidence["answers"].items():
        top = ", ".join(f"{item['breed']} {item['probability']:.1%}" for item in each["answer"]["top"])
        rows.append((name, f"{each['status']}: {top}"))
    return rows
