"""The capstone's rows turn red when their evidence is broken, and its page shows what they found."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.home import LocalError
from proofs.capstone import evidence as store
from proofs.capstone.evidence import Check, Evidence, Kept, is_green, judged
from proofs.capstone.page import Shown, render
from proofs.capstone.rows import cost, scaling
from proofs.capstone.table import ROWS, chosen, words

DIGEST, OTHER = "0123456789abcdef", "fedcba9876543210"


def ddp(*digests: str, shares: tuple[int, ...]) -> dict[str, Any]:
    """Return a ``ddp.json`` as rank 0 writes it; ``in_sync`` is what it says, whatever the digests are."""
    hosts = [f"algo-{number}" for number in range(1, len(digests) + 1)]
    return {
        "world_size": len(digests),
        "hosts": hosts,
        "num_train": 600,
        "samples_per_rank": list(shares),
        "steps": 50,
        "parameter_checksums": list(digests),
        "in_sync": True,
    }


def job(name: str, digest: str, instances: int) -> dict[str, Any]:
    shares = (600,) if instances == 1 else (300, 300)
    return {
        "name": name,
        "status": "Completed",
        "instances": instances,
        "instance_type": "ml.c7i.xlarge",
        "seconds": 9,
        "hyperparameters": {"epochs": "5"},
        "valid_top1": 0.9,
        "ddp": ddp(*[digest] * instances, shares=shares),
        "head_digest": digest,
        "model_sha256": "0" * 64,
    }


def trial(name: str, rate: float, epochs: int, objective: float) -> dict[str, Any]:
    tuned = {"learning_rate": rate, "epochs": float(epochs)}
    return {"name": name, "status": "Completed", "tuned": tuned, "objective": objective}


def answer(breed: str, share: float) -> dict[str, Any]:
    top = [{"breed": breed, "probability": share}, {"breed": "Beagle", "probability": 0.05}]
    return {"error": "", "status": 200, "answer": {"breed": breed, "probability": share, "top": top}}


def asked(milliseconds: float, init: float | None) -> dict[str, Any]:
    return {"ms": milliseconds, "init_ms": init, "duration_ms": 30.0, "status": 200, "breed": "Samoyed"}


def refused(action: str) -> dict[str, str]:
    return {"refused": f"User: arn:aws:sts::0:assumed-role/least/f is not authorized to perform: {action} because no"}


THEFT = "read them by a job with another role"
# What each row would keep of a kennel on which all is well.
GOOD: dict[str, Evidence] = {
    "notebook": {
        "by": "the API",
        "errors": [],
        "answers": [{"known": "Samoyed", "first": "Samoyed", "second": "Samoyed", "p": [0.9, 0.9]}],
        "left": [],
    },
    "data": {
        "uri": "s3://bucket/datasets/0.zip",
        "bytes": 10,
        "sha256": "0" * 64,
        "encryption": "aws:kms",
        "planned": {
            "fingerprint": DIGEST,
            "counts": {"train": 600, "valid": 150, "test": 200},
            "num_classes": 10,
        },
        "found": {"fingerprint": DIGEST, "counts": {"train": 600, "valid": 150, "test": 200}, "num_classes": 10},
    },
    "tuning": {
        "name": "capstone",
        "status": "Completed",
        "ranges": {"learning_rate": [3e-4, 3e-2], "epochs": [2, 10]},
        "best": "b",
        "trials": [trial("a", 1e-3, 2, 0.8), trial("b", 2e-3, 9, 0.95)],
    },
    "training": {
        "jobs": {"one": job("one", OTHER, 1), "pair": job("pair", DIGEST, 2), "apart": job("apart", "0" * 16, 1)},
    },
    "endpoint": {
        "name": "kennel",
        "status": "InService",
        "instances": 1,
        "instance_type": "ml.c7i.large",
        "evaluation": {
            "top1": 0.995,
            "top1_interval": [0.972, 0.999],
            "top5": 1.0,
            "latency_ms": 7.3,
            "precision": "int8",
        },
        "floor": 0.5,
        "answers": [{"photo": "00.jpg", "known": "Samoyed", "answered": "Samoyed", "probability": 0.9}],
    },
    "ec2": {
        "name": "capstone-ec2",
        "status": "SUCCEEDED",
        "queue": "q",
        "instance_type": "c7i.xlarge",
        "seconds": 9,
        "model": "TrainedModels/capstone-ec2/model.tar.gz",
        "model_sha256": "1",
        "output_sha256": "1",
        "vcpus_afterwards": 0,
        "trained": job("ec2", DIGEST, 2),
        "peer": {"name": "pair", "ddp": ddp(DIGEST, DIGEST, shares=(300, 300)), "head_digest": DIGEST},
    },
    "function": {
        "function": "kennel-classify",
        "known": "Samoyed",
        "answers": {
            "events/classify.json": answer("Beagle", 0.4),
            "a photo in the body": answer("Samoyed", 0.9),
            "a photo in the bucket": answer("Samoyed", 0.9),
        },
        "breeds": ["Samoyed", "Beagle"],
    },
    "security": {
        "secret": "anna,95000",
        "endpoint_gone": True,
        "before": {
            "role": "full",
            "answers": {
                "find other roles": {"done": ["AmazonSageMaker-ExecutionRole-1"]},
                "read the salaries": refused("s3:GetObject"),
                "make a bucket": {"done": None},
                THEFT: {"done": "anna,95000"},
                "delete an endpoint": {"done": None},
            },
        },
        "after": {
            "role": "least",
            "answers": {
                "find other roles": refused("iam:ListRoles"),
                "read the salaries": refused("s3:GetObject"),
                "make a bucket": refused("s3:CreateBucket"),
                THEFT: refused("sagemaker:CreateTrainingJob"),
                "delete an endpoint": refused("sagemaker:DeleteEndpoint"),
            },
        },
    },
    "concurrency": {
        "memory_mb": 1769,
        "known": "Samoyed",
        "cold": [asked(800.0, 700.0), asked(900.0, 800.0)],
        "warm": [asked(30.0, None), asked(31.0, None)],
        "kept_warm": {"provisioning": "READY", **asked(40.0, 700.0)},
        "provisioned": 1,
        "reserved": 2,
        "callers": 8,
        "flood": {"answered": 100, "429 ReservedFunctionConcurrentInvocationLimitExceeded": 900},
        "after": asked(30.0, None),
    },
    "scaling": {
        "throttle": 15,
        "rate": 10.5,
        "times": 10,
        "before": 120.0,
        "spike": 400.0,
        "policies": [],
        "desired": [[0.0, 1], [132.0, 9], [900.0, 4], [901.0, 4]],
        "instances": [[0.0, 1], [160.0, 9], [930.0, 4], [931.0, 4]],
        "p99_ms": [[100.0, 90.0], [140.0, None], [180.0, 700.0], [200.0, 120.0], [520.0, 100.0]],
        "requests": 10_000,
        "failed": 2,
    },
    "cost": {
        "receipt": {
            # Two instances for 100 s: 200/3600 of an hour at $0.214 are $0.01189.
            "lines": [
                {
                    "state": "Train",
                    "what": "training",
                    "item": "training/ml.c7i.xlarge",
                    "quantity": 200 / 3600,
                    "unit": "instance-hour",
                    "dollars": 200 / 3600 * 0.214,
                }
            ],
            "dollars": 0.011889,
            "dollars_per_month": 84.0,
        },
        "knee_per_second": 150.0,
        "planned_per_second": 105.0,
        "serving": "ml.c7i.large",
        "training": {
            "instance_type": "ml.c7i.xlarge",
            "instances": 2,
            "sagemaker_per_hour": 0.214,
            "ec2_per_hour": 0.1785,
        },
        "dollars_per_hour": {"ml.c7i.large": 0.107, "ml.c5.large": 0.102, "ml.g4dn.xlarge": 0.7364},
    },
}
JUDGES: dict[str, Callable[[Evidence], list[Check]]] = {row.name: row.part.judge for row in ROWS}


def checks_of(row: str, found: Evidence) -> list[Check]:
    return judged(JUDGES[row], Kept("key", 1.0, "2026-11-30T20:00:00+00:00", found))


def put(found: Any, path: str, value: Any) -> None:
    """Change one member of evidence, named by its way from the top with slashes."""
    *way, last = [int(part) if part.isdecimal() else part for part in path.split("|")]
    for part in way:
        found = found[part]
    found[last] = value


@pytest.mark.parametrize("row", [row.name for row in ROWS])
def test_good_evidence_is_green_and_can_be_told(row: str) -> None:
    assert [check.words for check in checks_of(row, GOOD[row]) if not check.passed] == []
    assert is_green(checks_of(row, GOOD[row]))
    told = next(each for each in ROWS if each.name == row).part.tell(GOOD[row])
    assert told
    assert all(isinstance(part, str) and part for pair in told for part in pair)


# A change of the good evidence, and how the line begins that then does not hold.
BROKEN = [
    ("notebook", "answers|0|second", "Beagle", "both endpoints name the breed"),
    ("notebook", "answers", [], "both endpoints name the breed"),
    ("notebook", "errors", ["NameError"], "no cell failed"),
    ("notebook", "left", ["by-hand"], "nothing is left"),
    ("data", "found|fingerprint", OTHER, "fingerprint"),
    ("data", "found|counts|train", 599, "the bucket has the photos"),
    ("data", "encryption", "", "the object is encrypted"),
    ("tuning", "best", "a", "the job that SageMaker calls best"),
    ("tuning", "ranges", {"epochs": [2, 10]}, "it searched at least two"),
    ("tuning", "trials|0|tuned|epochs", 11.0, "each tried a value within"),
    ("tuning", "trials|0|status", "Failed", "2 training jobs completed"),
    ("training", "jobs|pair|ddp|parameter_checksums|1", OTHER, "the 2 ranks ended with the same parameters"),
    ("training", "jobs|pair|head_digest", OTHER, "the tensors of the model that was kept"),
    ("training", "jobs|pair|ddp|samples_per_rank", [600, 600], "each photo was used by one rank"),
    ("training", "jobs|pair|ddp|hosts", ["algo-1", "algo-1"], "two instances trained together"),
    ("training", "jobs|apart|head_digest", OTHER, "two trainings that do not talk"),
    ("endpoint", "answers|0|answered", "Beagle", "00.jpg is Samoyed, not Beagle"),
    ("endpoint", "answers", [], "it names the breed"),
    ("endpoint", "status", "Failed", "the endpoint is Failed"),
    ("ec2", "trained|ddp|parameter_checksums", [OTHER, OTHER], "its parameters are those of pair"),
    ("ec2", "model_sha256", "2", "the model is TrainedModels/"),
    ("ec2", "model", "training/model.tar.gz", "the model is training/"),
    ("ec2", "vcpus_afterwards", 4, "no machine is left"),
    ("function", "answers|a photo in the bucket|answer|breed", "Beagle", "a photo in the bucket: Beagle is the first"),
    ("function", "answers|events/classify.json|status", 503, "events/classify.json: status 503"),
    ("function", "answers|events/classify.json|answer|top|1|probability", 0.7, "events/classify.json: 2 probabilities"),
    ("function", "known", "Poodle", "both ways to send a photo"),
    ("security", "before|answers|" + THEFT, {"done": "nothing"}, "before: the salaries are read"),
    ("security", "after|answers|" + THEFT, {"done": "anna,95000"}, "after: read them by a job"),
    ("security", "after|answers|delete an endpoint", {"done": None}, "after: delete an endpoint"),
    ("security", "after|answers|make a bucket", {"refused": "NoSuchBucket"}, "after: make a bucket"),
    ("security", "endpoint_gone", False, "before: the endpoint is gone"),
    ("concurrency", "flood", {"answered": 1000}, "8 callers at once, 2 reserved"),
    ("concurrency", "flood|500 Broken", 1, "nothing was refused for another reason"),
    ("concurrency", "warm|0|ms", 2000.0, "a cold start takes"),
    ("concurrency", "kept_warm|ms", 800.0, "the first caller of an environment"),
    ("concurrency", "cold|0|breed", "Beagle", "all 6 photos were answered"),
    ("scaling", "instances", [[0.0, 1], [931.0, 1]], "1 instance before, 1 during"),
    ("scaling", "desired", [[0.0, 1], [300.0, 9], [900.0, 4]], "more were ordered 180.0 s"),
    ("scaling", "desired", [[0.0, 1], [132.0, 9], [931.0, 9]], "fewer were never ordered"),
    ("scaling", "p99_ms|4", [520.0, None], "99 of 100 answers"),
    ("scaling", "failed", 900, "10,000 requests, 900 failed"),
    ("cost", "receipt|dollars", 0.02, "the 1 parts of the receipt"),
    ("cost", "receipt|lines|0|quantity", 1.0, "priced otherwise"),
    ("cost", "dollars_per_hour|ml.c7i.large", 0.7364, "ml.c7i.large costs"),
]


@pytest.mark.parametrize(("row", "path", "value", "line"), BROKEN)
def test_broken_evidence_is_red_in_the_line_that_it_breaks(row: str, path: str, value: Any, line: str) -> None:
    found = copy.deepcopy(GOOD[row])
    put(found, path, value)
    failed = [check.words for check in checks_of(row, found) if not check.passed]
    assert any(words.startswith(line) for words in failed), failed


def test_each_row_has_evidence_that_breaks() -> None:
    assert {row for row, *_ in BROKEN} == set(GOOD) == {row.name for row in ROWS}


@pytest.mark.parametrize("row", [row.name for row in ROWS])
def test_evidence_that_lacks_something_is_red_and_raises_nothing(row: str) -> None:
    assert not is_green(checks_of(row, {}))
    for name in GOOD[row]:
        rest = {key: value for key, value in GOOD[row].items() if key != name}
        Shown(next(each for each in ROWS if each.name == row), words()[row], Kept("k", 1.0, "now", rest)).figures  # noqa: B018
        checks_of(row, rest)


def test_an_error_is_the_reason_of_a_red_row() -> None:
    (check,) = judged(JUDGES["data"], Kept("key", 1.0, "now", GOOD["data"], "the cloud is gone"))
    assert check == Check("the evidence could not be collected: the cloud is gone", False)


def test_half_load_prices_a_million() -> None:
    # $0.36 an hour are $0.0001 a second. At 100/s, half of which is asked, a million takes 20,000 s.
    assert cost.per_million(0.36, 100.0) == pytest.approx(2.0)


def test_changes_keep_first_and_last() -> None:
    series = [(0.0, 1), (1.0, 1), (2.0, 3), (3.0, 3), (4.0, 2), (5.0, 2)]
    assert scaling._changes(series) == [[0.0, 1], [2.0, 3], [4.0, 2], [5.0, 2]]


def test_a_row_brings_those_that_it_needs_and_an_unknown_one_is_named() -> None:
    assert [row.name for row in chosen(["ec2"])] == ["training", "ec2"]
    assert chosen([]) == list(ROWS)
    with pytest.raises(LocalError, match="there is no row taining; the rows are notebook, data, "):
        chosen(["taining"])


def test_files_are_kept_and_damaged_ones_count_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "FOLDER", tmp_path)
    kept = Kept("key", 1.5, "now", {"a": 1})
    kept.write("data")
    assert store.read("data") == kept
    for text in ("", "{}", "[]", '{"evidence": 1}', json.dumps({"evidence": {}, "more": 1})):
        (tmp_path / "data.json").write_text(text)
        assert store.read("data") is None
    assert store.read("tuning") is None


def test_the_digest_of_the_code_changes_with_a_file_and_not_with_its_cache(tmp_path: Path) -> None:
    for name in store.CODE:
        file = tmp_path / (name if "." in name else f"{name}/app.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one")
    first = store.code_digest(root=tmp_path)
    (tmp_path / "training" / "app.pyc").write_bytes(b"cache")
    assert store.code_digest(root=tmp_path) == first
    (tmp_path / "training" / "app.py").write_text("two")
    assert store.code_digest(root=tmp_path) != first


def page(**changed: Kept | None) -> str:
    said = words()
    kept = {name: Kept("key", 1.0, "2026-11-30T20:00:00+00:00", found) for name, found in GOOD.items()} | changed
    return render([Shown(row, said[row.name], kept[row.name]) for row in ROWS], [("champion", "arn")])


def test_the_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    found = page()
    assert "<script" not in found
    assert 'src="http' not in found
    assert "url(" not in found
    assert "default-src 'none'" in found
    assert "prefers-color-scheme: dark" in found
    for row in ROWS:
        assert f'<section id="{row.name}">' in found


def test_the_page_marks_rows_and_folds_the_evidence_without_its_pictures() -> None:
    broken = copy.deepcopy(GOOD["training"])
    put(broken, "jobs|pair|ddp|parameter_checksums|1", OTHER)
    pictures = [{"caption": "a", "uri": "data:image/png;base64,AAAA"}]
    found = page(training=Kept("key", 1.0, "now", broken | {"pictures": pictures}), cost=None)
    section = found.split('<section id="training">')[1].split("</section>")[0]
    assert '<span class="mark red">red</span>' in section
    assert "✗</b>the 2 ranks ended with the same parameters" in section
    assert section.count("AAAA") == 1
    assert "&#34;world_size&#34;: 2" in section
    assert "Nothing has been collected yet" in found.split('<section id="cost">')[1]
    assert found.count('<h2><span class="mark green">') == len(ROWS) - 2


def test_evidence_of_something_that_has_changed_since_is_stale_and_broken_one_stays_red() -> None:
    row, said = ROWS[1], words()[ROWS[1].name]
    states = [
        Shown(row, said, Kept("key", 1.0, "now", found), is_current).state
        for found in (GOOD["data"], {})
        for is_current in (True, False)
    ]
    assert states == ["green", "stale", "red", "red"]
    assert Shown(row, said, None, False).state == "missing"


def test_what_others_wrote_is_shown_and_never_run() -> None:
    nasty = copy.deepcopy(GOOD["endpoint"])
    put(nasty, "answers|0|answered", "<script>alert(1)</script>")
    assert "<script" not in page(endpoint=Kept("key", 1.0, "now", nasty))
