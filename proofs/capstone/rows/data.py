"""The photos in the bucket, and the fingerprint by which a run knows them again."""

import hashlib
import tempfile
from pathlib import Path

from dataset import open_source
from dataset.reading import Reading
from local.home import LocalError
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel


def collect(kennel: Kennel) -> Evidence:
    """Fetch the archive of photos from the bucket, and count and fingerprint it anew."""
    planned = kennel.output["run"]["dataset"]
    bucket, _, key = planned["uri"].removeprefix("s3://").partition("/")
    if key.endswith("/"):
        raise LocalError(f"{planned['uri']} is a folder, and this row reads archives; `make run` uploads one")
    head = kennel.client("s3").head_object(Bucket=bucket, Key=key)
    body = kennel.read(planned["uri"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(key).name
        file.write_bytes(body)
        listing = open_source(file, Reading.from_json(planned["reading"])).listing
    # The rule of Plan: the paths and sizes of all photos, and S3's ETag of the archive.
    versions = "\n".join([listing.fingerprint(), head["ETag"]])
    return {
        "uri": planned["uri"],
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "encryption": head.get("ServerSideEncryption", ""),
        "version_id": head.get("VersionId", ""),
        "planned": {name: planned[name] for name in ("fingerprint", "counts", "num_classes")},
        "found": {
            "fingerprint": hashlib.sha256(versions.encode()).hexdigest()[:16],
            "counts": listing.counts(),
            "num_classes": len(listing.classes),
        },
    }


def judge(evidence: Evidence) -> list[Check]:
    """Hold what the run trained on against what lies in the bucket."""
    planned, found = evidence["planned"], evidence["found"]
    counts = found["counts"]
    return [
        Check(
            f"fingerprint {found['fingerprint']}, computed again from the bucket, is that of the run",
            found["fingerprint"] == planned["fingerprint"],
        ),
        Check(f"the bucket has the photos that the run counted: {_words(counts)}", counts == planned["counts"]),
        Check(
            "train, valid and test have photos",
            all(counts.get(split, 0) > 0 for split in ("train", "valid", "test")),
        ),
        Check("the object is encrypted with the stack's own key", evidence["encryption"] == "aws:kms"),
    ]


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {split}" for split, number in counts.items())


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    found = evidence["found"]
    return [
        ("object", f"{evidence['uri']} ({evidence['bytes']:,} bytes)"),
        ("photos", f"{found['num_classes']} breeds: {_words(found['counts'])}"),
        ("fingerprint", found["fingerprint"]),
        ("SHA-256", evidence["sha256"]),
    ]
