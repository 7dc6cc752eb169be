"""One training job on one instance, one on two, and the proof that the two trained one model."""

import base64
from typing import Any

from proofs.capstone import by_hand
from proofs.capstone.evidence import PICTURES, Check, Evidence
from proofs.capstone.kennel import Kennel, files_of


def collect(kennel: Kennel) -> Evidence:
    """Train on one instance, on two, and once more on one with another seed, which stands for a copy that is alone."""
    with by_hand.role(kennel) as role:
        one, pair = (by_hand.definition(kennel, role, count) for count in (1, 2))
        same = by_hand.hyperparameters(kennel)
        requests = {
            "one": {**one, "HyperParameters": same},
            "pair": {**pair, "HyperParameters": same},
            "apart": {**one, "HyperParameters": {**same, "seed": str(int(same.get("seed", "0")) + 1)}},
        }
        with by_hand.training_jobs(kennel, requests) as jobs:
            archives = {name: kennel.read(job["ModelArtifacts"]["S3ModelArtifacts"]) for name, job in jobs.items()}
            picture = base64.b64encode(files_of(archives["pair"])["history.svg"]).decode()
            return {
                "jobs": {name: _facts(job, archives[name]) for name, job in jobs.items()},
                PICTURES: [{"caption": "the training on two instances", "uri": f"data:image/svg+xml;base64,{picture}"}],
            }


def _facts(job: dict[str, Any], archive: bytes) -> dict[str, Any]:
    metrics = {each["MetricName"]: float(each["Value"]) for each in job.get("FinalMetricDataList", [])}
    return {
        "name": job["TrainingJobName"],
        "status": job["TrainingJobStatus"],
        "instances": job["ResourceConfig"]["InstanceCount"],
        "instance_type": job["ResourceConfig"]["InstanceType"],
        "seconds": job["TrainingTimeInSeconds"],
        "hyperparameters": job["HyperParameters"],
        "valid_top1": metrics.get("valid:top1"),
        **by_hand.proof(archive),
    }


def trained_one_model(job: dict[str, Any]) -> list[Check]:
    """Return whether the ranks of a job trained one model, each with its share of the photos.

    What the job says of itself (``in_sync``) does not count: the digests are compared here, and computed again.
    """
    ddp = job["ddp"]
    digests, shares = ddp["parameter_checksums"], ddp["samples_per_rank"]
    return [
        Check(f"the {len(digests)} ranks ended with the same parameters: {', '.join(digests)}", len(set(digests)) == 1),
        Check(
            f"the tensors of the model that was kept have this digest, computed again: {job['head_digest']}",
            {job["head_digest"]} == set(digests),
        ),
        Check(
            f"each photo was used by one rank: {' + '.join(map(str, shares))} of {ddp['num_train']}",
            sum(shares) == ddp["num_train"] and min(shares) > 0 and len(shares) == len(digests),
        ),
    ]


def judge(evidence: Evidence) -> list[Check]:
    """Judge both jobs, and show that the comparison tells trainings apart that do not talk."""
    one, pair, apart = (evidence["jobs"][name] for name in ("one", "pair", "apart"))
    hosts = pair["ddp"]["hosts"]
    contrast = [one["head_digest"], apart["head_digest"]]
    return [
        *(
            Check(f"{each['name']} is {each['status']}", each["status"] == "Completed")
            for each in evidence["jobs"].values()
        ),
        Check("one instance trained alone", (one["instances"], one["ddp"]["world_size"]) == (1, 1)),
        Check(
            f"two instances trained together: {', '.join(hosts)}",
            pair["instances"] == 2 and len(set(hosts)) == 2 and pair["ddp"]["world_size"] == 2,
        ),
        *trained_one_model(pair),
        Check(
            f"both made {pair['ddp']['steps']} steps of the same global batch",
            pair["ddp"]["steps"] == one["ddp"]["steps"] > 0,
        ),
        Check(
            f"two trainings that do not talk end with different parameters: {' and '.join(contrast)}",
            contrast[0] != contrast[1],
        ),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = []
    for job in evidence["jobs"].values():
        top1 = "" if job["valid_top1"] is None else f", valid top-1 {job['valid_top1']:.1%}"
        rows.append(
            (
                job["name"],
                f"{job['instances']} × {job['instance_type']}, {job['seconds']:.0f} s{top1}, "
                f"digest of its ranks {', '.join(job['ddp']['parameter_checksums'])}",
            )
        )
    return rows
