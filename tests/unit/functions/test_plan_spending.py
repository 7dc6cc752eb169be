"""max_dollars of a request: what a run's parts may cost, and the time that the rest gives to the training."""

import importlib
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import boto3
import pytest

from plan import request, spending
from plan.run import decide, decide_promotion, with_reused_model
from plan.versions import Version
from shared import spending as metering
from shared.contracts import ImageBuild, Request, TrainedModel
from shared.errors import RequestError, SpendingLimitError
from shared.spending import Fleet, Spending
from shared.tuning import Tune
from tests.unit.functions.test_plan import CHAMPION, DATASET, IMAGES, SETTINGS, WEIGHTS

PARAMETER_NOT_FOUND = boto3.client("ssm", region_name="us-east-1").exceptions.ParameterNotFound
# Worked out by hand from list prices ($/h: ml.c7i.large 0.107 to host and to evaluate, two ml.c7i.xlarge 0.428), and
# those of volumes ($ a GB and a month of 730 hours: 20 GB at 0.14 to host, 50 GB at 0.10 to evaluate, 0.14 to train).
EVALUATION = (0.107 + 50 * 0.10 / 730) * 7200 / 3600
HOSTING = 0.107 + 20 * 0.14 / 730
STAGING = HOSTING * 3020 / 3600
UPDATE = HOSTING * 2 * 4500 / 3600  # two instances, for 3600 + 3 * 300 seconds
STEPS = 310 * (4 + 3008 / 1024) * 1.66667e-05 + 600 * 2.5e-05 + 3 * 0.016
FIXED = EVALUATION + STAGING + UPDATE + STEPS
PER_SECOND = (0.428 + 2 * 50 * 0.14 / 730) / 3600 + 0.15 * 2.5e-05


def limit(run, max_dollars, megabytes=3008, architecture="x86_64"):
    return spending.limit(run, max_dollars, spending.Functions(megabytes, architecture))


def decided(more=None, **settings):
    asked = Request(**(more or {}))
    return decide(asked, replace(SETTINGS, **settings), "x", DATASET, WEIGHTS, IMAGES, CHAMPION)


def test_without_max_dollars_nothing_changes():
    run = decided()
    assert limit(run, None) is run
    assert (run.training.max_seconds, run.training.max_attempts, run.training.spent) == (14_400, 10, "")
    assert run.spending is None


def test_training_gets_the_time_that_the_other_parts_leave():
    limited = limit(decided(), FIXED + 1000 * PER_SECOND)
    assert limited.spending.parts == pytest.approx(
        {"evaluation": EVALUATION, "staging": STAGING, "update": UPDATE, "functions and steps": STEPS}, abs=1e-4
    )
    # 120 seconds of them are for the end by SIGTERM, and 60 for the upload.
    assert limited.training.max_seconds in (819, 820)
    assert "ended after 8" in limited.training.spent
    assert "larger max_dollars" in limited.training.spent
    assert "checkpoint" in limited.training.spent
    same = decided()
    assert limited.training.key == same.training.key
    assert limited.training.checkpoint_uri == same.training.checkpoint_uri


def test_functions_count_with_the_memory_that_measures_and_the_architecture_of_the_stack():
    """10 GB in place of 3,008 MB for 310 s are $0.037 more; on arm64 a GB-second costs four fifths."""
    parts = [
        limit(decided(), 10, *functions).spending.parts["functions and steps"]
        for functions in ((3008, "x86_64"), (10_240, "x86_64"), (10_240, "arm64"))
    ]
    other = 600 * 2.5e-05 + 3 * 0.016
    assert parts == pytest.approx([STEPS, 310 * 14 * 1.66667e-05 + other, 310 * 14 * 1.33334e-05 + other], abs=1e-4)
    assert parts[1] - parts[0] == pytest.approx(0.037, abs=5e-4)


def test_money_for_more_than_the_longest_training_limits_nothing_else():
    limited = limit(decided(), 100)
    assert (limited.training.max_seconds, limited.training.spent) == (14_400, "")


def test_money_below_the_fixed_parts_is_refused_with_their_list_and_what_suffices():
    run = decided()
    with pytest.raises(SpendingLimitError) as refused:
        limit(run, 0.5)
    said = str(refused.value)
    for part in ("evaluation $0.23", "staging $0.09", "update $0.28", "functions and steps $0.10", "training $0.03"):
        assert part in said
    least = float(said.partition("give at least ")[2].partition(",")[0])
    assert limit(run, least).training.max_seconds >= 60
    with pytest.raises(SpendingLimitError):
        limit(run, least - 0.011)


def test_images_to_build_count_and_a_reused_training_has_no_time():
    build = ImageBuild(targets=["evaluate", "serve"], content_hash="x")
    images = IMAGES.model_copy(update={"serving_build": build})
    run = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, images, CHAMPION)
    assert limit(run, 10).spending.parts["images"] == run.quote.build > 0
    reused = with_reused_model(decided(), TrainedModel(job="dogs-1", model_uri="s3://b/m"))
    limited = limit(reused, FIXED + 0.01)
    assert (limited.spending.training, limited.training.max_seconds) == (0, 14_400)
    with pytest.raises(SpendingLimitError, match="functions and steps"):
        limit(reused, FIXED - 0.01)


def test_promotion_pays_staging_and_update_only():
    version = Version(number=3, arn="arn:p/3", run_uri="s3://b/runs/r", image="i", top1=0.9, manifest="", report="")
    run = decide_promotion(Request(promote=3, max_dollars=1), SETTINGS, "x", version)
    assert set(limit(run, 1).spending.parts) == {"staging", "update", "functions and steps"}


IN_ECR = IMAGES.model_copy(update={"serve": f"{SETTINGS.image_repository}@sha256:1"})
# One environment of 3,008 MB for three times 310 seconds, and 100,000 requests.
FUNCTION = 930 * 2.9375 * 1.66667e-05 + 100_000 * 2e-07


@pytest.mark.parametrize(
    ("fields", "answering"),
    [
        ({"hosting": "function"}, {"function": FUNCTION}),
        ({"hosting": "auto"}, {"staging": STAGING, "update": UPDATE, "function": FUNCTION}),
        # Four warm environments of 3,008 MB while the run changes to them, 4,500 seconds.
        (
            {"hosting": "function", "provisioned_concurrency": 2},
            {"function": FUNCTION + 4 * 4500 * 2.9375 * 4.1667e-06},
        ),
    ],
)
def test_function_pays_no_instance_that_serves(fields, answering):
    run = decide(Request(**fields), SETTINGS, "x", DATASET, WEIGHTS, IN_ECR, CHAMPION)
    parts = {"evaluation": EVALUATION, **answering, "functions and steps": STEPS}
    limited = limit(run, sum(parts.values()) + 1000 * PER_SECOND)
    assert limited.spending.parts == pytest.approx(parts, abs=1e-4)
    assert limited.training.max_seconds in (819, 820)
    with pytest.raises(SpendingLimitError, match=r"evaluation \$0.23.* function \$0\.[0-3]"):
        limit(run, 0.3)


@pytest.mark.parametrize("field", ["training_instance_type", "serving_instance_type"])
def test_price_that_is_not_known_is_refused_with_the_field(field):
    with pytest.raises(RequestError, match=f"ml.p9.32xlarge is not known here.*another {field}"):
        limit(decided({field: "ml.p9.32xlarge"}, training_device="cuda"), 10)


def test_region_without_prices_is_refused(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    with pytest.raises(RequestError, match="not known"):
        limit(decided(), 10)


def test_machine_of_ec2_pays_its_idle_minutes_and_no_attempt_more_than_the_money():
    queues = {"ec2_spot_queue": "arn:spot", "ec2_on_demand_queue": "arn:demand"}
    run = decided({"train_on": "ec2"}, **queues)
    per_second = 0.1785 / 3600 + 0.15 * 2.5e-05  # Spot capacity costs as much as on demand at most.
    fixed = FIXED + 0.1785 * 600 / 3600
    limited = limit(run, fixed + 1000 * per_second)
    assert limited.training.max_seconds in (819, 820)
    assert limited.training.max_attempts == 1
    # Four hours and the 180 seconds of its end, once and twice.
    for seconds, attempts in ((2 * 14_580 - 20, 1), (2 * 14_580 + 20, 2)):
        rich = limit(run, fixed + seconds * per_second)
        assert (rich.training.max_seconds, rich.training.max_attempts) == (14_400, attempts)


def test_machines_with_disks_of_their_own_have_no_volume_to_pay():
    run = decided({"training_instance_type": "ml.g5.xlarge", "training_instance_count": 1}, training_device="cuda")
    limited = limit(run, FIXED + 1000 * (1.408 / 3600 + 0.15 * 2.5e-05))
    assert limited.training.max_seconds in (819, 820)


def test_search_by_jobs_shares_the_money_with_the_trainings_after_it():
    run = decided({"tune": Tune(where="jobs", trials=8, max_parallel=4)})
    limited = limit(run, FIXED + 40_000 * PER_SECOND)
    # Half of 40,000 seconds for four jobs at once, a quarter for eight trainings again, and a quarter for the last.
    # The search is looked at once a minute.
    assert limited.tuning.minutes == pytest.approx((5000 - 180 - 60) / 60, abs=0.1)
    assert limited.tuning.job_seconds in (1069, 1070)
    assert limited.training.max_seconds in (9819, 9820)
    with pytest.raises(SpendingLimitError) as refused:
        limit(run, FIXED + 0.5)
    least = float(str(refused.value).partition("give at least ")[2].partition(",")[0])
    enough = limit(run, least)
    assert min(enough.tuning.job_seconds, 60 * enough.tuning.minutes, enough.training.max_seconds) >= 60


def test_search_that_the_money_may_shorten_has_a_key_of_its_own_and_an_unlimited_run_does_not_reuse_it():
    run = decided({"tune": Tune(where="jobs", trials=8, max_parallel=4)})
    limited = limit(run, FIXED + 40_000 * PER_SECOND)
    assert limited.training.key != run.training.key
    assert limited.training.output_uri == f"s3://b/training/{limited.training.key}"
    tuned = [each["S3Input"]["S3Uri"] for each in limited.evaluation.inputs if each["InputName"] == "tuned"]
    assert tuned == [f"{limited.training.output_uri}/tuned.json"]
    assert limited.training.checkpoint_uri == run.training.checkpoint_uri
    assert limit(run, FIXED + 40_000 * PER_SECOND) == limited  # The next run with this money finds it.
    other = limit(run, FIXED + 50_000 * PER_SECOND)
    assert other.training.key not in (run.training.key, limited.training.key)
    # Money for the longest search and the longest trainings changes nothing.
    rich = limit(run, 10_000)
    assert (rich.training.key, rich.tuning) == (run.training.key, run.tuning)
    # A training that the money ends leaves no model to reuse, so it has the same key.
    plain = decided()
    assert limit(plain, FIXED + 1000 * PER_SECOND).training.key == plain.training.key


def test_search_for_which_the_money_is_too_little_is_refused_before_it_costs():
    run = decided({"tune": Tune(where="jobs", trials=8, max_parallel=4)})
    quote = run.tuning.jobs.model_copy(update={"minutes": 4 * 10.0})  # four waves of ten minutes
    slow = run.model_copy(update={"tuning": run.tuning.model_copy(update={"jobs": quote})})
    with pytest.raises(SpendingLimitError, match="the shortest search and training") as refused:
        limit(slow, FIXED + 8000 * PER_SECOND)
    least = float(str(refused.value).partition("give at least ")[2].partition(",")[0])
    enough = limit(slow, least)
    assert min(enough.tuning.job_seconds, 60 * enough.tuning.minutes) >= 600


def test_least_money_gives_the_shortest_time_that_batch_takes_whatever_rounding_does():
    run = decided()
    least = FIXED + 240 * PER_SECOND
    for cents in range(20):
        limited = limit(run, least + cents * 1e-9 + 1e-12)
        assert limited.training.max_seconds == 60


@pytest.mark.parametrize("dollars", [1e300, 12_345_678.9])
def test_amounts_are_written_as_people_write_them(dollars):
    assert limit(decided(), dollars).training.max_seconds == 14_400
    spent = Spending(months={"2026-12": {"endpoints": dollars}})
    said = metering.refusal(spent, 1_234_567.5, DECEMBER)
    assert "its MonthlyDollars is $1234567.5, so" in said
    with pytest.raises(SpendingLimitError, match=r"max_dollars: \$0\.0001 is too little"):
        limit(decided(), 0.0001)


def test_sentence_for_the_end_says_what_is_spent_and_how_to_go_on():
    said = limit(decided(), FIXED + 1000 * PER_SECOND).training.spent
    assert f"what ${FIXED + 1000 * PER_SECOND:.15g} leaves for it" in said
    assert "At most $0.13 is spent; the rest was kept for evaluation, staging and update" in said
    assert said.endswith("Start the run again with a larger max_dollars: the training goes on from its last checkpoint")
    searched = decided({"tune": Tune(where="jobs", trials=8, max_parallel=4)})
    assert limit(searched, 5).training.spent.endswith("larger max_dollars: the search begins anew")


def test_field_takes_numbers_above_zero():
    assert request.parse({"max_dollars": 2}).max_dollars == 2
    assert request.parse({"max_dollars": None}).max_dollars is None
    for wrong in (0, -1, "2", True, [2], float("inf"), float("nan")):
        with pytest.raises(RequestError, match="max_dollars"):
            request.parse({"max_dollars": wrong})


DECEMBER = 1_796_083_200.0  # 2026-12-01 00:00 UTC


def test_months_are_those_of_utc():
    assert metering.month_of(DECEMBER) == "2026-12"
    assert metering.month_of(DECEMBER - 1) == "2026-11"
    assert metering.month_start(DECEMBER + 86_400 * 30.9) == DECEMBER
    assert metering.next_month_start(DECEMBER) == DECEMBER + 31 * 86_400
    assert metering.next_month_start(DECEMBER - 1) == DECEMBER
    february = DECEMBER + 62 * 86_400
    assert metering.next_month_start(february + 5) == february + 28 * 86_400


def test_plan_refuses_runs_while_the_month_is_spent_or_the_cap_holds():
    spent = Spending(months={"2026-12": {"endpoints": 60.0, "jobs": 40.0}}, capped=True)
    said = metering.refusal(spent, 100, DECEMBER + 5)
    assert "about $100.00 in 2026-12" in said
    assert "2027-01-01" in said
    assert "at least" in metering.refusal(spent.model_copy(update={"unpriced": ["x"]}), 100, DECEMBER + 5)
    # A limit that was raised, and a month that has turned, lets runs start as soon as the meter has lifted the cap.
    assert "five minutes" in metering.refusal(spent, 200, DECEMBER + 5)
    assert "five minutes" in metering.refusal(spent, 100, DECEMBER + 40 * 86_400)
    assert metering.refusal(spent, 0, DECEMBER) == ""
    assert metering.refusal(spent.model_copy(update={"capped": False}), 200, DECEMBER) == ""


def test_way_back_to_an_earlier_version_is_open_while_as_many_instances_serve():
    fleets = {"dogs": Fleet(instance_type="ml.c7i.large", count=2)}
    over = Spending(months={"2026-12": {"endpoints": 100.0}}, capped=True, fleets=fleets)
    assert '{"promote": N}' in metering.refusal(over, 100, DECEMBER)
    assert [metering.may_go_back(over, "dogs", least) for least in (1, 2, 3)] == [True, True, False]
    assert not metering.may_go_back(over.model_copy(update={"fleets": {}}), "dogs", 1)


@pytest.mark.parametrize(
    ("asked", "answers", "starts"),
    [
        ({"promote": 3}, "instances", True),
        ({"promote": 3, "min_instances": 2}, "instances", False),
        ({}, "instances", False),
        ({"rebuild": True}, "instances", False),
        ({"trained_model": "models/x.pth", "backbone": "resnet18"}, "instances", False),
        ({"promote": 3, "hosting": "function"}, "function", True),
        ({"promote": 3, "hosting": "function"}, "instances", False),
        ({"promote": 3, "hosting": "function", "provisioned_concurrency": 1}, "function", False),
        ({"hosting": "function"}, "function", False),
    ],
)
def test_plan_starts_nothing_but_the_way_back_while_the_month_is_spent(monkeypatch, asked, answers, starts):
    class ReachedError(Exception):
        """The lock was asked for, so nothing was refused before."""

    def take(*_):
        raise ReachedError

    for name, value in vars(SETTINGS).items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app = importlib.import_module("plan.app")
    over = Spending(months={metering.month_of(time.time()): {"endpoints": 200.0}}, capped=True)
    over = over.model_copy(update={"fleets": {"dogs": Fleet(instance_type="ml.c7i.large", count=1)}})
    monkeypatch.setattr(app, "settings", replace(SETTINGS, monthly_dollars="100"))
    monkeypatch.setattr(app.metering, "read", lambda *_: over)
    monkeypatch.setattr(app.lock, "take", take)
    monkeypatch.setattr(type(app.agreement), "hosting", lambda _: answers)
    with pytest.raises(ReachedError if starts else SpendingLimitError):
        app.plan(asked, "arn:mine", "x")


def test_document_of_the_meter_fits_into_a_parameter():
    """A standard parameter of SSM has 4 KB, https://docs.aws.amazon.com/general/latest/gr/ssm.html."""
    parts = (
        "endpoints",
        "jobs",
        "jobs that run",
        "functions",
        "requests",
        "photos in and out",
        "logs",
        "key and alarms",
    )
    document = Spending(
        at=1.7e9 + 0.123456,
        months={f"2026-{month}": dict.fromkeys(parts, 123456.123456) for month in (11, 12)},
        fleets={f"{'x' * 60}{index}": Fleet(instance_type="ml.g4dn.12xlarge", count=100) for index in range(10)},
        ended_until=1.7e9 + 0.123456,
        unpriced=[f"training/ml.g4dn.{size}xlarge" for size in range(40)],
        capped=True,
        warned="2026-12 123456.123456",
        told="2026-12-01",
        gaps_told="2026-12",
    )
    assert len(document.model_dump_json().encode()) < 4096


def test_document_that_is_missing_new_or_garbled_is_an_empty_one():
    document = Spending(at=5.0, fleets={"dogs": Fleet(instance_type="ml.c7i.large", count=2)})

    def ssm(value):
        def get_parameter(Name):
            assert Name == "/k/spending"
            if value is None:
                raise PARAMETER_NOT_FOUND({"Error": {}}, "GetParameter")
            return {"Parameter": {"Value": value}}

        exceptions = SimpleNamespace(ParameterNotFound=PARAMETER_NOT_FOUND)
        return SimpleNamespace(get_parameter=get_parameter, exceptions=exceptions)

    assert metering.read(ssm(document.model_dump_json()), "/k/spending") == document
    for value in (None, "none", "{", json.dumps({"at": "soon"})):
        assert metering.read(ssm(value), "/k/spending") == Spending()
