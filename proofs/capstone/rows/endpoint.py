"""The endpoint that serves the champion, asked about photos whose answers are known."""

import base64
import io
import json
from typing import Any

from PIL import Image

from dataset.photo_bytes import media_type
from local import report
from proofs.capstone.evidence import PICTURES, Check, Evidence
from proofs.capstone.kennel import Kennel

_TILE, _SHOWN = 112, 12  # pixels, photos


def collect(kennel: Kennel) -> Evidence:
    """Describe the endpoint, and ask it about the golden photos."""
    described = kennel.client("sagemaker").describe_endpoint(EndpointName=kennel.deployed.endpoint_name)
    variant = described["ProductionVariants"][0]
    evaluation = report.evaluation(kennel.laptop, kennel.output["run"]["evaluation"]["report_uri"])["challenger"]
    photos = golden(kennel)
    answers = [_asked(kennel, known, photo) for known, photo in photos]
    return {
        "name": described["EndpointName"],
        "status": described["EndpointStatus"],
        "instances": variant["CurrentInstanceCount"],
        "instance_type": kennel.output["run"]["endpoint"]["instance_type"],
        "evaluation": {key: evaluation[key] for key in ("top1", "top1_interval", "top5", "latency_ms", "precision")},
        "floor": (kennel.output["run"]["limits"] or {}).get("min_top1"),
        "answers": answers,
        PICTURES: [
            {"caption": f"{answer['answered']} {answer['probability']:.0%}", "uri": tile(photo)}
            for answer, (_, photo) in list(zip(answers, photos, strict=True))[:_SHOWN]
        ],
    }


def golden(kennel: Kennel) -> list[tuple[dict[str, Any], bytes]]:
    """Return the photos whose answers are known, with what the evaluation wrote about each."""
    folder = f"{kennel.output['run']['evaluation']['report_uri']}/golden"
    listed = json.loads(kennel.read(f"{folder}/golden.json"))
    return [(known, kennel.read(f"{folder}/{known['photo']}")) for known in listed]


def tile(photo: bytes) -> str:
    """Return a small picture of a photo as a data URI."""
    picture, buffer = Image.open(io.BytesIO(photo)).convert("RGB"), io.BytesIO()
    picture.thumbnail((_TILE, _TILE))
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def ask(kennel: Kennel, endpoint: str, photo: bytes) -> dict[str, Any]:
    """Return the answer of an endpoint to a photo."""
    answer = kennel.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=photo, ContentType=media_type(photo)
    )
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document


def _asked(kennel: Kennel, known: dict[str, Any], photo: bytes) -> dict[str, Any]:
    answer = ask(kennel, kennel.deployed.endpoint_name, photo)
    return {
        "photo": known["photo"],
        "known": known["breed"],
        "answered": answer["breed"],
        "probability": answer["probability"],
    }


def judge(evidence: Evidence) -> list[Check]:
    """Hold each answer against the breed that is known."""
    answers, top1 = evidence["answers"], evidence["evaluation"]["top1"]
    wrong = [f"{each['photo']} is {each['known']}, not {each['answered']}" for each in answers]
    wrong = [words for words, each in zip(wrong, answers, strict=True) if each["known"] != each["answered"]]
    return [
        Check(
            f"the endpoint is {evidence['status']} with {evidence['instances']} × {evidence['instance_type']}",
            evidence["status"] == "InService" and evidence["instances"] >= 1,
        ),
        Check(
            f"it names the breed on all {len(answers)} photos whose breed is known" if not wrong else "; ".join(wrong),
            bool(answers) and not wrong,
        ),
        Check(
            f"the gate let the model through: top-1 {top1:.1%} on the test photos, floor {evidence['floor']:.1%}",
            top1 >= evidence["floor"],
        ),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    return [
        ("endpoint", f"{evidence['name']}, {evidence['instances']} × {evidence['instance_type']}"),
        ("the model", report.headline(evidence["evaluation"])),
    ]
