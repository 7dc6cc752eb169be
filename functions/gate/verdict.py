"""Decide from the evaluation alone whether the challenger is promoted.

Every check describes its result in words. The words of the checks that decided are the reason.
"""

import json

from gate.paired import chance_of_loss, holm, largest_loss, photos_needed
from gate.scan import Scan
from gate.scan import check as check_scan
from shared.breeds import form, names
from shared.contracts import Check, Limits, Verdict
from shared.errors import DistributionError
from shared.evaluation import Breed, ChangedBreeds, Comparison, Distribution, Evaluation, Leak, PairedBreed, Scores
from shared.listing import Changes

ALPHA = 0.05
_LONGEST_REASON = 1024
_NUM_NAMED = 3


def decide(
    evaluation: Evaluation, limits: Limits, instance_count: int, scan: Scan, photos: Changes | None = None
) -> Verdict:
    """Promote or refuse the challenger, with the reason in words.

    Args:
        instance_count: number of instances that trained; 0 for a model that was trained elsewhere.
        scan: what was found in the image that would serve.
        photos: what is different in the bucket since the run was planned; None if that is not known.

    Raises:
        DistributionError: the ranks of the training job did not train one model together. Such a run fails;
            it is not refused.
    """
    checks = [
        _distribution(evaluation.ddp, instance_count),
        *_photos(photos),
        _leaks(evaluation.leaked),
        _floor(evaluation.challenger, limits),
        *_champion(evaluation, limits),
        *_fitness(evaluation.challenger, limits),
        check_scan(scan, limits),
    ]
    failed = [check for check in checks if not check.passed]
    decisive = failed or [check for check in checks if check.name in ("floor", "champion")]
    # Words contain names of folders and photos, which may contain newlines. SageMaker's registry takes one line.
    reason = " ".join("; ".join(check.words for check in decisive).split())
    return Verdict(
        decision="refuse" if failed else "promote",
        reason=reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…",
        checks=checks,
        challenger_top1=evaluation.challenger.top1,
        champion_top1=evaluation.champion.top1 if evaluation.champion else None,
        manifest=evaluation.manifest_sha256,
    )


def _distribution(ddp: Distribution | None, instance_count: int) -> Check:
    if ddp is None:
        if instance_count:
            raise DistributionError("the evaluation has no proof of the training; train anew (reuse: false)")
        return Check(name="distribution", passed=True, words="trained elsewhere, so how it was trained is not proven")
    problems = []
    if ddp.world_size < instance_count:
        problems.append(f"{instance_count} instances ran, but only {ddp.world_size} rank(s) trained together")
    if not ddp.in_sync or len(set(ddp.parameter_checksums)) != 1 or len(ddp.parameter_checksums) != ddp.world_size:
        problems.append("the ranks ended with different parameters")
    if ddp.steps and sum(ddp.samples_per_rank) != ddp.num_train:  # Without a step the ranks see no photo.
        problems.append(
            f"the ranks saw {sum(ddp.samples_per_rank)} photos per epoch, but the training split has {ddp.num_train}"
        )
    if problems:
        raise DistributionError(f"{'; '.join(problems)}; read the training job's log, then train anew (reuse: false)")
    ranks = "1 rank" if ddp.world_size == 1 else f"{ddp.world_size} ranks"
    return Check(name="distribution", passed=True, words=f"{ranks} trained one model")


def _photos(changes: Changes | None) -> list[Check]:
    """Check that the jobs read the photos that Plan has seen."""
    if changes is None:
        return []
    if changes.words:
        words = f"the photos are others than those that the run was planned with: {_first_few(list(changes.words))}"
        return [Check(name="photos", passed=False, words=f"{words}; start the run again")]
    return [
        Check(
            name="photos",
            passed=True,
            words=f"no file was added, changed or deleted since Plan ({changes.num_objects:,} listed)",
        )
    ]


def _leaks(leaked: list[Leak]) -> Check:
    if not leaked:
        return Check(name="leakage", passed=True, words="no photo is in two splits")
    leaks = [f"{leak.photo} is also {leak.also}" for leak in leaked]
    words = f"photos are in two splits, so the scores prove nothing: {_first_few(leaks)}"
    return Check(name="leakage", passed=False, words=words)


def _floor(challenger: Scores, limits: Limits) -> Check:
    passed = challenger.top1 >= limits.min_top1
    words = (
        f"top-1 {challenger.top1:.1%} on {challenger.num_photos:,} test photos "
        f"{'reaches' if passed else 'is below'} the floor of {limits.min_top1:.1%}"
    )
    return Check(name="floor", passed=passed, words=words)


def _champion(evaluation: Evaluation, limits: Limits) -> list[Check]:
    """Compare the challenger with the champion on the same photos."""
    champion, comparison = evaluation.champion, evaluation.comparison
    if champion is None:
        return [Check(name="champion", passed=True, words="no model served before")]
    changed = _changed_breeds(evaluation.changed_breeds, limits.drop_breeds)
    if comparison is None:
        return [Check(name="champion", passed=True, words="the champion knows none of these breeds"), *changed]
    slowdown = comparison.slowdown
    return [
        *changed,
        _top1(comparison, champion, limits.max_top1_loss),
        _breeds(comparison.per_breed, limits.max_breed_loss),
        _at_most("slowdown", slowdown, limits.max_slowdown, f"answers take {slowdown:.2f} times the champion's time"),
    ]


def _changed_breeds(changed: ChangedBreeds | None, dropped: list[str]) -> list[Check]:
    """Check that the challenger knows every breed of the champion but those that the request drops."""
    if changed is None or not (changed.lost or changed.new or dropped):
        return []
    asked = {form(name) for name in dropped}
    known = {breed.label: names(breed.label, breed.breed) for breed in changed.lost}
    missed = [breed for breed in changed.lost if not known[breed.label] & asked]
    words = []
    if missed:
        request = json.dumps({"drop_breeds": [breed.label for breed in missed]}, ensure_ascii=False)
        words.append(
            f"the champion knows {_counted(missed)} that the new model does not know: {_named(missed)}; add photos, "
            f"or ask for it by {request}"
        )
    if gone := [breed for breed in changed.lost if breed not in missed]:
        words.append(f"dropped as asked for: {_named(gone)}")
    if unused := [name for name in dropped if form(name) not in set().union(*known.values())]:
        words.append(f"drop_breeds names what the champion does not know or the new model knows: {', '.join(unused)}")
    if changed.new:
        words.append(f"new: {_named(changed.new)}")
    return [Check(name="known breeds", passed=not missed, words="; ".join(words))]


def _counted(breeds: list[Breed]) -> str:
    return "1 breed" if len(breeds) == 1 else f"{len(breeds)} breeds"


def _named(breeds: list[Breed]) -> str:
    return _first_few(
        [breed.breed if breed.breed == breed.label else f"{breed.breed} ({breed.label})" for breed in breeds]
    )


def _top1(comparison: Comparison, champion: Scores, limit: float) -> Check:
    """Check that the challenger loses no more top-1 than the limit.

    If there are too few photos to show that, check instead that the challenger is not significantly worse.
    See "No worse than δ" in docs/decisions/evaluation-and-gate.md.
    """
    photos, gained, lost = comparison.num_photos, comparison.only_challenger, comparison.only_champion
    bound, needed = largest_loss(photos, gained, lost), photos_needed(photos, gained, lost, limit)
    p = chance_of_loss(gained, lost)
    served, counts = f"the champion's {champion.top1:.1%}", f"of {photos:,} photos {gained} gained, {lost} lost"
    if bound <= limit or needed <= photos:
        passed = bound <= limit
        words = (
            f"{'no more than' if passed else 'perhaps'} {100 * bound:.1f} points below {served} with 95% confidence "
            f"({counts}), {100 * limit:g} allowed"
        )
    elif passed := p >= ALPHA:
        words = (
            f"not shown to be worse than {served} ({counts}, p = {p:.2g}), but about {needed:,} photos are needed to "
            f"rule out a loss of {100 * limit:g} points"
        )
    else:
        words = f"worse than {served} by more than chance explains ({counts}, p = {p:.2g})"
    if comparison.unknown_to_champion:
        words += f"; breeds that the champion does not know are left out: {comparison.unknown_to_champion}"
    return Check(name="champion", passed=passed, words=words)


def _breeds(breeds: list[PairedBreed], limit: float) -> Check:
    """Check that no breed lost more than the limit. A loss counts only if it is significant among so many tests."""
    # If the models differ on so few photos that losing them all could be chance, the breed takes no part.
    # See "A breed's veto" in docs/decisions/evaluation-and-gate.md.
    testable = [b for b in breeds if chance_of_loss(0, b.only_challenger + b.only_champion) < ALPHA]
    p_values = holm([chance_of_loss(b.only_challenger, b.only_champion) for b in testable])
    losses = [
        f"{b.breed} lost {100 * loss:.0f} points (of {b.num_photos:,} photos {b.only_challenger} gained, "
        f"{b.only_champion} lost, p = {p:.2g})"
        for b, p in zip(testable, p_values, strict=True)
        if (loss := (b.only_champion - b.only_challenger) / b.num_photos) > limit and p < ALPHA
    ]
    words = f"{_first_few(losses)}; {100 * limit:g} points allowed"
    if not losses:
        words = f"none of {len(breeds)} breeds lost more than {100 * limit:g} points beyond chance"
    return Check(name="breeds", passed=not losses, words=words)


def _fitness(challenger: Scores, limits: Limits) -> list[Check]:
    """Check calibration, latency and size, which need no champion."""
    # See "Calibration is judged beyond chance" in docs/decisions/evaluation-and-gate.md.
    error, chance = 100 * challenger.calibration_error, 100 * challenger.calibration_chance
    milliseconds, megabytes = challenger.latency_p95_ms, challenger.size / 1e6
    off = f"stated probabilities are off by {error:.1f} points, of which chance explains {chance:.1f}"
    slow = f"a photo takes {milliseconds:.1f} ms at the 95th percentile"
    return [
        _at_most("calibration", error - chance, 100 * limits.max_calibration_error, off),
        _at_most("latency", milliseconds, limits.max_latency_ms, slow),
        _at_most("size", megabytes, limits.max_megabytes, f"the networks have {megabytes:.1f} MB"),
        *_no_dog(challenger.rejected, limits.min_rejected),
    ]


def _no_dog(rejected: float | None, required: float | None) -> list[Check]:
    """Report the share of rejected photos without a dog. It decides only if the request sets ``min_rejected``."""
    if rejected is None:
        words = "min_rejected cannot be measured: the dataset has no readable photo in other/"
        return [] if required is None else [Check(name="no dog", passed=False, words=words)]
    words = f"{rejected:.1%} of the photos without a dog are recognized as such"
    if required is None:
        return [Check(name="no dog", passed=True, words=words)]
    return [Check(name="no dog", passed=rejected >= required, words=f"{words}, {required:.1%} required")]


def _at_most(name: str, value: float, limit: float, words: str) -> Check:
    return Check(name=name, passed=value <= limit, words=f"{words}, {limit:g} allowed")


def _first_few(items: list[str]) -> str:
    more = f" and {len(items) - _NUM_NAMED} more" if len(items) > _NUM_NAMED else ""
    return f"{', '.join(items[:_NUM_NAMED])}{more}"
