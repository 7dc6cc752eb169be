"""Meter: add up every five minutes what the stack spends this month, and act when that reaches its limit."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from meter import jobs, limits, lock, model_function, scaling, usage
from meter.sums import Observation, advance
from shared import spending
from shared.model_function import find, name_of
from shared.observability import logger
from shared.settings import Settings
from shared.spending import Spending

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True)
class MeterSettings(Settings):
    """The limit, and the names of what is counted.

    Attributes:
        monthly_dollars: the stack's MonthlyDollars.
        on_overspend: ``cap`` or ``teardown``.
        spending_parameter: keeps the meter's document.
        lock_parameter: the meter's own lock.
        functions, log_groups: names separated by commas.
        architecture: of the functions.
        warm_function: the function that callers start, if the stack keeps some of it warm; empty if it does not.
        shrink_photos: its ShrinkPhotos.
        has_dashboard: the stack's Dashboard, ``true`` or ``false``.
        training_instance_type: with ``ml.`` before it, the type of the machines of jobs on EC2 that do not tell it.
    """

    stack: str
    endpoint_name: str
    monthly_dollars: str
    on_overspend: str
    spending_parameter: str
    lock_parameter: str
    champion_parameter: str
    topic_arn: str
    teardown_arn: str
    pipeline_arn: str
    image_builder: str
    functions: str
    log_groups: str
    architecture: str
    warm_function: str
    shrink_photos: str
    has_dashboard: str
    ec2_spot_queue: str
    ec2_on_demand_queue: str
    training_instance_type: str

    @property
    def limit(self) -> float:
        """US dollars a month."""
        return float(self.monthly_dollars)

    @property
    def queues(self) -> dict[str, bool]:
        """The queues of AWS Batch, and whether they take spot capacity; none in a stack without subnets for EC2."""
        both = {self.ec2_spot_queue: True, self.ec2_on_demand_queue: False}
        return {queue: is_spot for queue, is_spot in both.items() if queue}


_KEPT_MS = 60_000  # kept back from the function's time for what follows the jobs of SageMaker

settings = MeterSettings.from_environment()
ssm = boto3.client("ssm")
sagemaker = boto3.client("sagemaker")
topic = boto3.client("sns")
codebuild = boto3.client("codebuild")
states = boto3.client("stepfunctions")
autoscaling = boto3.client("application-autoscaling")
lambdas = boto3.client("lambda")
instances = scaling.of_endpoint(autoscaling, sagemaker, ssm, settings.endpoint_name, settings.champion_parameter)
kept_ready = scaling.of_function(autoscaling, settings.endpoint_name)
metered = usage.Usage(
    boto3.client("cloudwatch"),
    lambdas,
    usage.Names(
        endpoint=settings.endpoint_name,
        api=settings.stack,
        pipeline=settings.pipeline_arn,
        functions=tuple(settings.functions.split(",")),
        log_groups=tuple(settings.log_groups.split(",")),
        architecture=settings.architecture,
        warm_function=settings.warm_function,
        shrinks=settings.shrink_photos == "auto",
        has_dashboard=settings.has_dashboard == "true",
    ),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Count once, and return the meter's document; nothing if another tick is at work."""
    if not lock.take(ssm, settings.lock_parameter, time.time()):
        logger.info("another tick is at work")
        return {}
    metered.megabytes[context.function_name] = int(context.memory_limit_in_mb)
    try:
        return tick(time.time(), lambda: context.get_remaining_time_in_millis() > _KEPT_MS).model_dump()
    finally:
        lock.release(ssm, settings.lock_parameter)


def tick(now: float, has_time: Callable[[], bool] = lambda: True) -> Spending:
    """Count what was spent until now, act on it, and keep the document.

    The first tick finds all jobs of the month. Those for which there is no time are left to the next ticks.

    An error before the actions changes nothing, and the next tick counts what this one missed. An action that fails is
    told after the others, and done again by the next tick.
    """
    before = spending.read(ssm, settings.spending_parameter)
    after, failures = _act(advance(before, _look(before, has_time, now)), now)
    _keep(after)
    logger.info("counted", extra={"spending": after.model_dump()})
    if failures:
        raise failures[0]
    return after


def _look(before: Spending, has_time: Callable[[], bool], now: float) -> Observation:
    found = jobs.Jobs(before.ended_until, now)
    jobs.on_sagemaker(found, sagemaker, settings.endpoint_name, has_time)
    jobs.of_builds(found, codebuild, settings.image_builder)
    if settings.queues:
        machine = settings.training_instance_type.removeprefix("ml.")
        jobs.on_ec2(found, boto3.client("batch"), settings.queues, machine, settings.endpoint_name)
    name = name_of(settings.endpoint_name)
    function = find(lambdas, name)
    sizes = model_function.sizes(before.function_sizes, function.megabytes, now)
    used = metered.dollars(now)
    used["the model's function"] = metered.of_function(function.architecture, sizes, now)
    ready = model_function.kept_ready(lambdas, name, function, name in before.warm)
    return Observation(
        now=now,
        fleets=usage.fleets(sagemaker, settings.endpoint_name),
        ended=found.ended,
        running=found.running,
        ended_until=found.until,
        usage=used,
        unpriced=found.unpriced | metered.unpriced,
        uncounted=found.uncounted,
        warm=metered.warm(each for each in before.warm if each != name) | ready,
        function_megabytes=function.megabytes,
        function_sizes=sizes,
    )


def _act(spent: Spending, now: float) -> tuple[Spending, list[Exception]]:
    """Do what follows from what is spent; return the document with what was done, and the errors of the rest."""
    decision = limits.decide(spent, settings.limit, settings.on_overspend, now)
    limit, day, month = settings.limit, limits.day_of(now), spending.month_of(now)
    done: dict[str, Any] = {}
    failures: list[Exception] = []

    def attempt(action: Callable[[], dict[str, Any]]) -> None:
        try:
            done.update(action())
        except Exception as error:
            logger.exception("an action failed")
            failures.append(error)

    if decision.is_over:
        # Plan and the state machine look for this word, so it stands whatever becomes of the range itself.
        done |= {"capped": True, "lifted": 0}
        attempt(lambda: {"max_instances": instances.cap(spent.max_instances)})
        attempt(_cap_function)
    elif spent.capped:
        attempt(lambda: _lift(spent, now))
    elif spent.lifted:
        attempt(lambda: _keep_lifted(spent, now))
    if decision.warn:
        warned = limits.warning_of(limit, now)
        attempt(lambda: _mail("80 % of MonthlyDollars", limits.warning(spent, limit, now), {"warned": warned}))
    if decision.tell:
        attempt(lambda: _mail("MonthlyDollars is reached", limits.message(spent, limit, now), {"told": day}))
    if decision.tell_gaps:
        attempt(lambda: _mail("prices are missing", limits.gaps(spent), {"gaps_told": month}))
    if decision.teardown:
        attempt(_tear_down)
    return spent.model_copy(update=done), failures


def _cap_function() -> dict[str, Any]:
    """Keep no more functions ready than the fewest. They still answer: who asks much must not end the service."""
    kept_ready.cap(None)
    return {}


def _lift(spent: Spending, now: float) -> dict[str, Any]:
    _lift_both(spent)
    return {"capped": False, "lifted": now, "told": ""}


def _keep_lifted(spent: Spending, now: float) -> dict[str, Any]:
    """Lift the cap again if a run has put it back, as long as such a run may last.

    A run that found the cap registers the range with it, or restores it after a failure, some time after it has looked.
    Nothing else would ever lift it then.
    """
    if now > spent.lifted + limits.LONGEST_RUN_SECONDS:
        return {"lifted": 0, "max_instances": None}
    _lift_both(spent)
    return {}


def _lift_both(spent: Spending) -> None:
    instances.lift(spent.max_instances)
    kept_ready.lift(None)


def _mail(subject: str, message: str, done: dict[str, Any]) -> dict[str, Any]:
    topic.publish(TopicArn=settings.topic_arn, Subject=f"Kennel: {subject}", Message=f"{settings.stack}: {message}")
    return done


def _tear_down() -> dict[str, Any]:
    """Ask teardown, which deletes nothing while a run is at work; the next tick asks again.

    With ``{}`` it would fail then, because that is what a person asks.
    """
    states.start_execution(stateMachineArn=settings.teardown_arn, input='{"overspend":true}')
    return {}


def _keep(document: Spending) -> None:
    ssm.put_parameter(Name=settings.spending_parameter, Value=document.model_dump_json(), Type="String", Overwrite=True)
