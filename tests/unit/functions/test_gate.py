"""The decisions of the gate, with expected values worked out by hand."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from gate import scan
from gate.paired import chance_of_loss, holm, largest_loss, photos_needed
from gate.scan import Finding, Scan
from gate.verdict import decide as decide_with_scan
from shared.contracts import Limits
from shared.errors import DistributionError, ScanPendingError
from shared.evaluation import ChangedBreeds, Evaluation
from shared.listing import Changes

DDP = {
    "world_size": 2,
    "num_train": 100,
    "steps": 9,
    "samples_per_rank": [50, 50],
    "parameter_checksums": ["a", "a"],
    "in_sync": True,
}


def scores(top1, **changed):
    return {
        "top1": top1,
        "num_photos": 200,
        "latency": {"both": {"p95": 12.5}},
        "bytes": 20_000_000,
        "calibration": {"error_after": 0.04, "chance": 0.03},
        "dogs": {"rejected": None},
    } | changed


def compared(num_photos, gained, lost, unknown=0, slowdown=1.0, breeds=()):
    def counts(photos, only_challenger, only_champion):
        return {"num_photos": photos, "only_challenger": only_challenger, "only_champion": only_champion}

    per_breed = [{"breed": breed} | counts(*of_breed) for breed, *of_breed in breeds]
    rest = {"unknown_to_champion": unknown, "slowdown": slowdown, "per_breed": per_breed}
    return counts(num_photos, gained, lost) | rest


def evaluation(top1=0.9, champion=None, comparison=None, leaked=(), ddp=(), **changed):
    return Evaluation.model_validate(
        {
            "challenger": scores(top1, **changed),
            "champion": None if champion is None else scores(champion),
            "comparison": comparison,
            "leaked": list(leaked),
            "ddp": DDP | dict(ddp),
            "manifest_sha256": 64 * "a",
        }
    )


CLEAN = Scan(())


def decide(evaluation, limits, instance_count, found=CLEAN, photos=None):
    return decide_with_scan(evaluation, limits, instance_count, found, photos)


def failed(verdict):
    return [check.name for check in verdict.checks if not check.passed]


def words_of(verdict, name):
    (words,) = [check.words for check in verdict.checks if check.name == name]
    return words


def test_first_model_above_the_floor_is_promoted():
    verdict = decide(evaluation(0.9), Limits(), 2)
    assert verdict.decision == "promote"
    assert verdict.reason == "top-1 90.0% on 200 test photos reaches the floor of 50.0%; no model served before"
    assert verdict.champion_top1 is None
    assert verdict.manifest == 64 * "a"
    assert [check.name for check in verdict.checks] == (
        ["distribution", "leakage", "floor", "champion", "calibration", "latency", "size", "image"]
    )


def test_challenger_exactly_at_the_floor_is_promoted():
    assert decide(evaluation(0.5), Limits(min_top1=0.5), 2).decision == "promote"


def test_challenger_below_the_floor_is_refused():
    verdict = decide(evaluation(0.49), Limits(), 2)
    assert verdict.decision == "refuse"
    assert verdict.reason == "top-1 49.0% on 200 test photos is below the floor of 50.0%"


def test_photos_in_two_splits_are_named():
    leaked = [{"photo": f"test/a/{n}.jpg", "also": f"train/a/{n}.jpg"} for n in range(5)]
    verdict = decide(evaluation(leaked=leaked), Limits(), 2)
    assert failed(verdict) == ["leakage"]
    assert "test/a/2.jpg is also train/a/2.jpg and 2 more" in verdict.reason


def test_reason_contains_all_failed_checks_and_fits_into_the_registry():
    path = "test/" + "x" * 600 + "\n.jpg"
    verdict = decide(evaluation(0.1, leaked=[{"photo": path, "also": path}]), Limits(), 2)
    assert failed(verdict) == ["leakage", "floor"]
    assert len(verdict.reason) == 1024
    assert verdict.reason.isprintable()
    assert verdict.reason.endswith("…")


@pytest.mark.parametrize(
    ("counts", "promoted", "words"),
    [
        # Nothing differs: Tango's bound is z² / (n + z²) = 2.7055 / 202.7055.
        ((200, 0, 0), True, "no more than 1.3 points below the champion's 90.0% with 95% confidence"),
        # The same with too few photos: (1.6449 + 1.2816)² (1 - 0.02) / 0.02 are needed.
        ((40, 0, 0), True, "but about 420 photos are needed to rule out a loss of 2 points"),
        (
            (40, 0, 5),
            False,
            "worse than the champion's 90.0% by more than chance explains (of 40 photos 0 gained, 5 lost",
        ),
        ((40, 1, 5), True, "not shown to be worse than the champion's 90.0% (of 40 photos 1 gained, 5 lost, p = 0.11)"),
        ((1200, 11, 12), True, "(of 1,200 photos 11 gained, 12 lost), 2 allowed"),
        (
            (1200, 3, 27),
            False,
            "perhaps 2.8 points below the champion's 90.0% with 95% confidence (of 1,200 photos 3 gained",
        ),
        ((1200, 300, 0), True, "no more than 0.0 points below"),
        ((3, 0, 3), True, "p = 0.12"),
    ],
)
def test_challenger_is_compared_with_the_champion(counts, promoted, words):
    verdict = decide(evaluation(0.9, champion=0.9, comparison=compared(*counts)), Limits(), 2)
    assert (verdict.decision == "promote") is promoted
    assert words in verdict.reason
    assert verdict.champion_top1 == 0.9


def test_larger_loss_passes_with_a_larger_limit():
    comparison = compared(1200, 3, 27)
    assert decide(evaluation(champion=0.9, comparison=comparison), Limits(max_top1_loss=0.03), 2).decision == "promote"


def test_champion_that_knows_no_breed_cannot_be_compared():
    verdict = decide(evaluation(0.9, champion=0.0), Limits(), 2)
    assert verdict.decision == "promote"
    assert verdict.reason.endswith("; the champion knows none of these breeds")


def test_reason_counts_breeds_that_are_new_to_the_champion():
    verdict = decide(evaluation(champion=0.7, comparison=compared(200, 2, 1, unknown=3)), Limits(), 2)
    assert verdict.reason.endswith("; breeds that the champion does not know are left out: 3")


def test_breed_that_lost_too_much_is_named_and_refused():
    # Pug differs on 4 photos, too few for a test. Beagle's 2^-11 is multiplied by three, because three are tested.
    breeds = [("Beagle", 20, 0, 11), ("Akita", 20, 4, 4), ("Pug", 20, 0, 4), ("Boxer", 20, 9, 0)]
    verdict = decide(evaluation(champion=0.9, comparison=compared(1200, 30, 19, breeds=breeds)), Limits(), 2)
    assert failed(verdict) == ["breeds"]
    assert verdict.reason == ("Beagle lost 55 points (of 20 photos 0 gained, 11 lost, p = 0.0015); 20 points allowed")


@pytest.mark.parametrize(
    ("breeds", "why"),
    [
        ([("Beagle", 20, 0, 5), ("Akita", 20, 3, 2)], "two tests: 2 / 32 is above 0.05"),
        ([("Beagle", 100, 0, 20)], "20 points are allowed"),
        ([(f"Breed {n}", 10, 0, 4) for n in range(120)], "none can be tested"),
    ],
)
def test_breed_that_lost_little_or_by_chance_is_accepted(breeds, why):
    verdict = decide(evaluation(champion=0.9, comparison=compared(1200, 30, 19, breeds=breeds)), Limits(), 2)
    assert failed(verdict) == [], why
    assert words_of(verdict, "breeds") == f"none of {len(breeds)} breeds lost more than 20 points beyond chance"


@pytest.mark.parametrize(
    ("changed", "limits", "name", "words"),
    [
        ({"latency": {"both": {"p95": 612.34}}}, {}, "latency", "takes 612.3 ms at the 95th percentile, 500 allowed"),
        ({"bytes": 31_500_000}, {"max_megabytes": 31.4}, "size", "the networks have 31.5 MB, 31.4 allowed"),
        (
            {"calibration": {"error_after": 0.19, "chance": 0.08}},
            {},
            "calibration",
            "off by 19.0 points, of which chance explains 8.0, 10 allowed",
        ),
        (
            {"dogs": {"rejected": {"share": 0.875}}},
            {"min_rejected": 0.9},
            "no dog",
            "87.5% of the photos without a dog are recognized as such, 90.0% required",
        ),
        ({}, {"min_rejected": 0.9}, "no dog", "min_rejected cannot be measured"),
    ],
)
def test_challenger_beyond_a_limit_is_refused(changed, limits, name, words):
    verdict = decide(evaluation(**changed), Limits(**limits), 2)
    assert failed(verdict) == [name]
    assert words in verdict.reason


def test_challenger_slower_than_the_champion_is_refused():
    verdict = decide(evaluation(champion=0.9, comparison=compared(200, 0, 0, slowdown=3.1)), Limits(), 2)
    assert failed(verdict) == ["slowdown"]
    assert verdict.reason == "answers take 3.10 times the champion's time, 2 allowed"


def test_photos_without_a_dog_decide_only_with_a_limit():
    verdict = decide(evaluation(dogs={"rejected": {"share": 0.1}}), Limits(), 2)
    assert verdict.decision == "promote"
    assert words_of(verdict, "no dog") == "10.0% of the photos without a dog are recognized as such"


def test_chance_of_loss_is_that_of_a_fair_coin():
    assert chance_of_loss(1, 5) == (6 + 1) / 64
    assert chance_of_loss(5, 0) == chance_of_loss(0, 0) == 1
    assert 0 < chance_of_loss(1000, 1200) < 1e-4  # The sums are larger than a float can be.


def test_largest_loss_is_where_the_score_is_significant():
    # Nothing gained: one binomial share, whose bound is Wilson's. 2 of 50, one-sided 95 %:
    # (0.04 + z²/100 + z sqrt(0.04 * 0.96 / 50 + z²/10000)) / (1 + z²/50)
    assert largest_loss(50, 0, 2) == pytest.approx(0.1139, abs=1e-4)
    # One gained: with q = 0.01163, the most likely share gained, (50 d - 2) / sqrt(50 (2q + d (1 - d))) = 1.6449.
    assert largest_loss(50, 1, 3) == pytest.approx(0.1246, abs=1e-4)
    assert largest_loss(4, 0, 4) == 1.0


def test_photos_needed_grow_with_the_share_that_differs():
    assert photos_needed(100, 0, 0, 0.02) == 420
    # With a tenth differing the number is nearly (1.6449 + 1.2816)² * 0.1 / 0.02².
    assert photos_needed(1000, 50, 50, 0.02) == pytest.approx(2141, rel=0.05)


def test_holm_corrects_the_smallest_most():
    assert holm([0.04, 0.01, 0.5]) == pytest.approx([0.08, 0.03, 0.5])
    assert holm([0.02, 0.015]) == pytest.approx([0.03, 0.03])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("ddp", "words"),
    [
        ({"in_sync": False}, "different parameters"),
        ({"parameter_checksums": ["a", "b"]}, "different parameters"),
        ({"world_size": 1, "parameter_checksums": ["a"], "samples_per_rank": [100]}, "only 1 rank"),
        ({"samples_per_rank": [100, 100]}, "saw 200 photos per epoch, but the training split has 100"),
    ],
)
def test_ranks_that_trained_apart_fail_the_run(ddp, words):
    with pytest.raises(DistributionError, match=words):
        decide(evaluation(ddp=ddp), Limits(), 2)


def test_model_without_a_step_needs_no_photos():
    assert decide(evaluation(ddp={"steps": 0, "samples_per_rank": []}), Limits(), 2).decision == "promote"


def test_model_that_was_trained_elsewhere_needs_no_proof_of_its_training():
    of_elsewhere = evaluation().model_copy(update={"ddp": None})
    verdict = decide(of_elsewhere, Limits(), 0)
    assert verdict.decision == "promote"
    assert verdict.checks[0].words == "trained elsewhere, so how it was trained is not proven"
    with pytest.raises(DistributionError, match="no proof of the training"):
        decide(of_elsewhere, Limits(), 2)


LOST = {"class": "003.Alpha_dog", "breed": "Alpha dog"}


@pytest.mark.parametrize(
    ("lost", "new", "drop", "promoted", "words"),
    [
        (
            [LOST],
            [],
            [],
            False,
            "the champion knows 1 breed that the new model does not know: Alpha dog (003.Alpha_dog); add photos, or "
            'ask for it by {"drop_breeds": ["003.Alpha_dog"]}',
        ),
        ([LOST], [], ["003.Alpha_dog"], True, "dropped as asked for: Alpha dog (003.Alpha_dog)"),
        ([LOST], [], ["alpha  Dog"], True, "dropped as asked for: Alpha dog (003.Alpha_dog)"),
        ([LOST], [], ["Beta"], False, "drop_breeds names what the champion does not know or the new model knows: Beta"),
        ([], [LOST], [], True, "new: Alpha dog (003.Alpha_dog)"),
        ([LOST, {"class": "b", "breed": "b"}], [], ["b"], False, "the champion knows 1 breed"),
    ],
)
@pytest.mark.parametrize("comparison", [compared(200, 0, 0), None])
def test_a_breed_that_the_champion_knows_is_lost_only_on_request(lost, new, drop, promoted, words, comparison):
    changed = ChangedBreeds.model_validate({"lost": lost, "new": new})
    parsed = evaluation(0.9, champion=0.9, comparison=comparison).model_copy(update={"changed_breeds": changed})
    verdict = decide(parsed, Limits(drop_breeds=drop), 2)
    assert (verdict.decision == "promote") is promoted
    assert words in words_of(verdict, "known breeds")


def test_models_with_the_same_breeds_need_no_check_of_them():
    unchanged = ChangedBreeds(lost=[], new=[])
    parsed = evaluation(0.9, champion=0.9, comparison=compared(200, 0, 0)).model_copy(
        update={"changed_breeds": unchanged}
    )
    assert "known breeds" not in [check.name for check in decide(parsed, Limits(), 2).checks]


def test_photos_that_were_changed_after_plan_refuse_the_challenger_by_name():
    changed = Changes(tuple(f"dataset/test/{name}.jpg was changed" for name in "abcd"), 600)
    verdict = decide(evaluation(), Limits(), 2, photos=changed)
    assert (verdict.decision, failed(verdict)) == ("refuse", ["photos"])
    assert verdict.reason == (
        "the photos are others than those that the run was planned with: dataset/test/a.jpg was changed, "
        "dataset/test/b.jpg was changed, dataset/test/c.jpg was changed and 1 more; start the run again"
    )
    same = decide(evaluation(), Limits(), 2, photos=Changes((), 600))
    assert (same.decision, words_of(same, "photos")) == (
        "promote",
        "no file was added, changed or deleted since Plan (600 listed)",
    )
    assert "photos" not in [check.name for check in decide(evaluation(), Limits(), 2).checks]


DIGEST = f"sha256:{'1' * 64}"
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-images@{DIGEST}"


def ecr_that_answers(*pages):
    ecr = boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(ecr)
    token = None
    for number, page in enumerate(pages):
        asked = {"repositoryName": "kennel-images", "imageId": {"imageDigest": DIGEST}}
        more = {"nextToken": str(number)} if number < len(pages) - 1 else {}
        stub.add_response("describe_image_scan_findings", page | more, asked | ({"nextToken": token} if token else {}))
        token = more.get("nextToken")
    stub.activate()
    return ecr


def ecr_that_refuses(code):
    ecr = boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(ecr)
    stub.add_client_error("describe_image_scan_findings", code)
    stub.activate()
    return ecr


def page(status, *findings, **more):
    return {"imageScanStatus": {"status": status} | more, "imageScanFindings": {"findings": list(findings)}}


def basic(name, severity, package):
    return {"name": name, "severity": severity, "attributes": [{"key": "package_name", "value": package}]}


def test_findings_of_all_pages_are_read():
    ecr = ecr_that_answers(
        page("COMPLETE", basic("CVE-2026-1", "LOW", "tar")), page("COMPLETE", basic("CVE-2026-2", "HIGH", "openssl"))
    )
    found = scan.read(ecr, IMAGE, 0)
    assert found.findings == (Finding("CVE-2026-1", "LOW", "tar"), Finding("CVE-2026-2", "HIGH", "openssl"))
    assert not found.missing


def test_findings_of_inspector_are_read_and_the_day_of_its_advisories():
    enhanced = {
        "severity": "CRITICAL",
        "title": "CVE-2026-3 - libwebp",
        "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2026-3", "vulnerablePackages": [{"name": "libwebp"}]},
    }
    answer = page("ACTIVE")
    answer["imageScanFindings"] = {
        "enhancedFindings": [enhanced],
        "vulnerabilitySourceUpdatedAt": datetime(2026, 11, 28, tzinfo=UTC),
    }
    assert scan.read(ecr_that_answers(answer), IMAGE, 0) == (
        (Finding("CVE-2026-3", "CRITICAL", "libwebp"),),
        "2026-11-28",
        "",
    )


@pytest.mark.parametrize("status", ["PENDING", "IN_PROGRESS"])
def test_a_scan_that_goes_on_is_waited_for_but_not_for_ever(status):
    with pytest.raises(ScanPendingError):
        scan.read(ecr_that_answers(page(status)), IMAGE, 5)
    assert scan.read(ecr_that_answers(page(status)), IMAGE, 6).missing == status


@pytest.mark.parametrize(
    "status",
    ["FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED", "FINDINGS_UNAVAILABLE", "LIMIT_EXCEEDED"],
)
def test_a_scan_without_a_result_is_told_and_refused_only_where_one_is_required(status):
    found = scan.read(ecr_that_answers(page(status, description="why")), IMAGE, 0)
    assert found == Scan((), missing=f"{status}, why")
    verdict = decide(evaluation(), Limits(), 2, found)
    assert failed(verdict) == []
    told = f"the image that would serve has no result of a scan ({status}, why), which"
    assert words_of(verdict, "image") == f"{told} only require_scan would refuse"
    refused = decide(evaluation(), Limits(require_scan=True), 2, found)
    assert failed(refused) == ["image"]
    assert words_of(refused, "image") == f"{told} require_scan asks for"


def test_an_image_that_was_never_scanned_or_may_not_be_asked_about_has_no_result():
    for code in ("ScanNotFoundException", "AccessDeniedException"):
        assert scan.read(ecr_that_refuses(code), IMAGE, 0).missing == code
    assert scan.read(None, "mine:1", 0).missing == "mine:1 is not in ECR"
    with pytest.raises(ClientError):
        scan.read(ecr_that_refuses("ImageNotFoundException"), IMAGE, 0)


def test_severe_findings_refuse_a_challenger_unless_they_are_accepted_by_name():
    found = Scan(
        (
            Finding("CVE-2026-2", "HIGH", "openssl"),
            Finding("CVE-2026-1", "CRITICAL", ""),
            Finding("CVE-2026-9", "MEDIUM", "tar"),
        ),
        "2026-11-29",
    )
    verdict = decide(evaluation(), Limits(), 2, found)
    assert (verdict.decision, failed(verdict)) == ("refuse", ["image"])
    assert verdict.reason == (
        "of 3 findings in the image that would serve, 2 severe: CVE-2026-1 (CRITICAL), CVE-2026-2 (HIGH, openssl); "
        "build on a patched base, or name them in accept_findings (scanned 2026-11-29)"
    )
    one = decide(evaluation(), Limits(accept_findings=["CVE-2026-2"]), 2, found)
    assert words_of(one, "image") == (
        "of 3 findings in the image that would serve, 1 severe and not accepted: CVE-2026-1 (CRITICAL); build on a "
        "patched base, or name them in accept_findings; accepted as asked for: CVE-2026-2 (scanned 2026-11-29)"
    )
    both = decide(evaluation(), Limits(accept_findings=["CVE-2026-2", "CVE-2026-1"]), 2, found)
    assert both.decision == "promote"


def test_an_image_without_severe_findings_passes():
    verdict = decide(evaluation(), Limits(require_scan=True), 2, Scan((Finding("CVE-2026-9", "MEDIUM", "tar"),)))
    assert verdict.decision == "promote"
    assert words_of(verdict, "image") == "of 1 finding in the image that would serve, 0 severe"


def test_a_tag_is_asked_for_by_the_tag():
    ecr = boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(ecr) as stub:
        asked = {"repositoryName": "team/kennel", "imageId": {"imageTag": "serve-12ab"}}
        stub.add_response("describe_image_scan_findings", page("COMPLETE"), asked)
        uri = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/team/kennel:serve-12ab"
        assert scan.read(ecr, uri, 0) == Scan(())
