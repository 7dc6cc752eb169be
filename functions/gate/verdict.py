"""The gate's decision, from the evaluation alone."""

from shared.contracts import Evaluation, Verdict
from shared.errors import DistributionError

# How far below the champion a challenger may score and still count as no worse.
TOLERANCE = 0.01


def decide(evaluation: Evaluation, min_top1: float, instance_count: int) -> Verdict:
    """Promote or refuse, with the reason in words.

    Raises:
        DistributionError: the training job's ranks did not train one model together; such a run is
            broken, not refused.
    """
    _prove_distribution(evaluation, instance_count)
    reason = _reason_to_refuse(evaluation, min_top1)
    challenger, champion = evaluation.challenger, evaluation.champion
    if reason is None:
        reason = (
            f"top-1 {challenger.top1:.1%} on {challenger.num_photos} test photos reaches the floor of {min_top1:.1%}"
        )
        reason += f" and is no worse than the champion's {champion.top1:.1%}" if champion else "; nothing served before"
        decision = "promote"
    else:
        decision = "refuse"
    return Verdict(
        decision=decision,  # type: ignore[arg-type]
        reason=reason,
        challenger_top1=challenger.top1,
        champion_top1=champion.top1 if champion else None,
    )


def _reason_to_refuse(evaluation: Evaluation, min_top1: float) -> str | None:
    challenger, champion = evaluation.challenger, evaluation.champion
    if evaluation.leaked:
        leaks = [f"{leak.photo} is also {leak.also}" for leak in evaluation.leaked]
        more = f" and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        return f"photos stand in two splits, so the marks prove nothing: {', '.join(leaks[:3])}{more}"
    if challenger.top1 < min_top1:
        return (
            f"top-1 {challenger.top1:.1%} on {challenger.num_photos} test photos is below the floor of {min_top1:.1%}"
        )
    if champion and challenger.top1 < champion.top1 - TOLERANCE:
        return (
            f"top-1 {challenger.top1:.1%} is more than {TOLERANCE:.0%} below the champion's {champion.top1:.1%} "
            f"on the same {challenger.num_photos} photos"
        )
    return None


def _prove_distribution(evaluation: Evaluation, instance_count: int) -> None:
    ddp = evaluation.ddp
    problems = []
    if ddp.world_size < instance_count:
        problems.append(f"{instance_count} instances ran but only {ddp.world_size} rank(s) trained together")
    if not ddp.in_sync or len(set(ddp.parameter_checksums)) != 1 or len(ddp.parameter_checksums) != ddp.world_size:
        problems.append("the ranks ended with different parameters")
    if ddp.steps and sum(ddp.samples_per_rank) != ddp.num_train:  # without a step the model is as it started
        problems.append(
            f"the ranks saw {sum(ddp.samples_per_rank)} photos an epoch where the training split has {ddp.num_train}"
        )
    if problems:
        raise DistributionError(f"{'; '.join(problems)}; read the training job's log, then train anew (reuse: false)")
