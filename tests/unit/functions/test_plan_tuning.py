"""Plan's decisions about a search for hyperparameters: ranges, strategy, place, quotes, and what it refuses."""

import json
import re

import pytest

from plan import ranges, request
from plan.run import PlanSettings, decide
from plan.weights import Weights
from shared.contracts import Dataset, ImagePlan, Request
from shared.errors import RequestError
from shared.tuning import repeated_job_name

DOGS = Dataset(
    uri="s3://b/dataset",
    fingerprint="f",
    num_classes=120,
    counts={"train": 7200, "valid": 1800},
    made_splits="",
    left_out=[],
    unreadable=[],
    not_compared=0,
    reading="",
)
WEIGHTS = Weights("s3://b/weights/efficientnet_lite0-0123.pth", '"e"')
IMAGES = ImagePlan(
    **dict.fromkeys(("train", "train_content", "evaluate", "serve", "repository", "context"), "x"),
    training_build=None,
    serving_build=None,
)
SETTINGS = PlanSettings(
    **dict.fromkeys(PlanSettings.__dataclass_fields__, "")
    | {"endpoint_name": "dogs", "bucket": "b", "training_instance_type": "ml.c7i.xlarge"}
    | {"training_instance_count": "2", "training_spot": "false", "serving_instance_type": "ml.c7i.large"}
    | {"max_p99_microseconds": "250000", "bake_seconds": "300", "lease_hours": "72", "training_image": "x"}
    | {"hosting": "instances", "model_reserved_concurrency": "0"}
)


def run(fields=None, name="x", /, **tune):
    return decide(Request.model_validate({"tune": tune, **(fields or {})}), SETTINGS, name, DOGS, WEIGHTS, IMAGES, None)


def refusal(fields=None, /, **tune):
    with pytest.raises(RequestError) as error:
        run(fields, **tune)
    return str(error.value)


def test_without_tune_nothing_is_searched():
    plan = decide(Request(), SETTINGS, "x", DOGS, WEIGHTS, IMAGES, None)
    assert plan.tuning is None
    assert "tune" not in plan.training.hyperparameters


def test_a_search_inside_is_one_hyperparameter_of_the_training_job():
    plan = run(trials=16, minutes=5, ranges={"epochs": {"min": 5, "max": 40}, "sampling": ["natural", "balanced"]})
    assert plan.tuning.where == "inside"
    assert json.loads(plan.training.hyperparameters["tune"]) == {
        "trials": 16,
        "strategy": "bayesian",
        "max_parallel": 8,
        "minutes": 5.0,
        "seed": 0,
        "objective": "valid_top1",
        "ranges": {"epochs": {"min": 5, "max": 40, "scale": "linear"}, "sampling": ["natural", "balanced"]},
    }
    assert plan.tuning.document_uri == f"{plan.evaluation.report_uri}/tuned.json"


def test_the_default_ranges_leave_out_what_the_request_fixes():
    assert run().tuning.ranges.keys() == {"epochs", "global_batch_size", "learning_rate", "pull"}
    fixed = run({"hyperparameters": {"epochs": 20, "pull": 0.1}})
    assert fixed.tuning.ranges.keys() == {"global_batch_size", "learning_rate"}
    assert fixed.training.hyperparameters.keys() == {"epochs", "pull", "tune"}


def test_ranges_in_sagemakers_form_are_text():
    written = ranges.for_sagemaker(
        {
            "learning_rate": {"min": 0.0003, "max": 0.03, "scale": "log"},
            "epochs": {"min": 5, "max": 40, "scale": "linear"},
            "backbone": ["efficientnet_lite0", "efficientnet_lite2"],
            "pull": [0.05, 1],
        }
    )
    assert written == {
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "0.0003", "MaxValue": "0.03", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "5", "MaxValue": "40", "ScalingType": "Linear"}],
        "CategoricalParameterRanges": [
            {"Name": "backbone", "Values": ["efficientnet_lite0", "efficientnet_lite2"]},
            {"Name": "pull", "Values": ["0.05", "1"]},
        ],
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"learning_rat": [1]}, "learning_rat: unknown hyperparameter (did you mean 'learning_rate'?)"),
        ({"seed": [1, 2]}, "seed: cannot be searched, because it does not decide how good the model becomes"),
        ({"momentum": [1, 2]}, "momentum: unknown hyperparameter; can be searched: backbone, epochs, "),
        ({"keep": [0.1, 0.2]}, "keep: only mode full reads it, and this training is in mode head; leave it out"),
        ({"epochs": []}, "epochs: the list is empty; give at least one value"),
        ({"epochs": [10, 10]}, "epochs: a value is in the list twice"),
        ({"epochs": [2.5]}, "epochs: must contain whole numbers, not 2.5"),
        ({"epochs": {"min": 40, "max": 5}}, "epochs: min (40) is above max (5); exchange them"),
        (
            {"epochs": {"min": 5, "max": 5}},
            "epochs: min and max are both 5; give that value in hyperparameters instead",
        ),
        ({"epochs": {"min": 5}}, "epochs: max missing; a range has min and max"),
        ({"epochs": {"min": 5, "max": 9, "step": 2}}, "epochs: unknown field step; a range has min, max and scale"),
        ({"epochs": {"min": True, "max": 9}}, "epochs: must contain numbers, not true"),
        ({"epochs": 7}, 'epochs: must be a list of values or {"min": …, "max": …}'),
        ({"pull": {"min": 0, "max": 1, "scale": "log"}}, "pull: with a log scale min must be above 0, not 0"),
        ({"pull": {"min": 1, "max": 2, "scale": "exp"}}, "pull: scale must be linear or log, not 'exp'"),
        ({"learning_rate": {"min": 0.1, "max": 11}}, "learning_rate: must be between 1e-08 and 10, not 11"),
        ({"sampling": ["natural", "even"]}, "sampling: must contain natural or balanced, not 'even'"),
        ({"sampling": {"min": 0, "max": 1}}, "sampling: must be a list of values"),
    ],
)
def test_a_wrong_range_is_refused_with_what_to_change(given, sentence):
    assert refusal(ranges=given).startswith(f"tune.ranges.{sentence}")


def test_every_wrong_range_is_named():
    assert refusal(ranges={"epochs": [], "pulling": [1]}).count("tune.ranges.") == 2


def test_a_hyperparameter_is_fixed_or_searched_but_not_both():
    message = refusal({"hyperparameters": {"epochs": 3}}, ranges={"epochs": [3, 4]})
    assert message == "tune.ranges.epochs: hyperparameters fixes it, too; leave it out in one of them"
    with pytest.raises(RequestError, match=r"hyperparameters\.tune: a search is the request's field tune"):
        request.parse({"hyperparameters": {"tune": "{}"}})
    assert "one backbone" in refusal({"weights": "w.pth"}, ranges={"backbone": ["resnet50"]})


def test_unknown_fields_of_tune_are_refused_with_a_hint():
    with pytest.raises(RequestError, match=r"tune.trails: unknown field \(did you mean 'trials'\?\)"):
        request.parse({"tune": {"trails": 3}})
    with pytest.raises(RequestError, match=r"tune\.trials: must be a whole number from 2 to 750, not 0"):
        request.parse({"tune": {"trials": 0}})


def test_a_grid_is_all_combinations_and_no_larger_than_the_trials():
    lists = {"epochs": [5, 10, 20], "sampling": ["natural", "balanced"]}
    assert (run(ranges=lists).tuning.strategy, run(ranges=lists).tuning.trials) == ("grid", 6)
    assert refusal(ranges=lists, strategy="grid", trials=5) == (
        "tune.trials: the grid has 6 combinations and trials is 5; raise trials, or list fewer values"
    )
    message = refusal(ranges={"pull": {"min": 0.1, "max": 1}}, strategy="grid")
    assert message == "tune.strategy: grid tries listed values; give pull as a list of values"


def test_more_trials_than_combinations_are_refused():
    message = refusal(ranges={"epochs": {"min": 5, "max": 9}}, strategy="random", trials=6)
    assert message == (
        "tune.trials: the ranges have only 5 different values and trials is 6; lower trials, or widen the ranges"
    )


def test_the_cheaper_way_is_taken_with_the_quotes_of_both():
    tuning = run(trials=64).tuning
    # 16 epochs of 7,200 photos take 16 * 7,200 * (4 + 0.13 * 120) µs = 2.26 s of a core. Inside, that is
    # (64 * 0.25 + 8) * 2.26 s on 8 cores = 6.8 s. As jobs, it is 72 jobs in 9 rounds of 8, each with
    # 120 s + 9,000 photos / (92 * 8) + 2.26 s = 134.49 s.
    assert (tuning.inside.minutes, tuning.jobs.minutes) == (0.1, pytest.approx(9 * 134.49 / 60, abs=0.1))
    assert tuning.inside.dollars == pytest.approx(6.8 * 0.428 / 3600, abs=1e-4)
    assert tuning.jobs.dollars == pytest.approx(72 * 134.49 * 0.428 / 3600, abs=1e-2)
    assert tuning.reason == (
        "64 trials inside the training job: about 0.1 minutes and $0.001; as 72 training jobs, each of which starts "
        f"and computes the features anew: about 20.2 minutes and ${tuning.jobs.dollars:.3f}"
    )


def test_the_request_may_choose_the_dearer_way():
    plan = run(trials=8, where="jobs")
    assert plan.tuning.where == "jobs"
    assert "tune" not in plan.training.hyperparameters
    assert plan.tuning.reason.endswith("; the request says jobs")


def test_mode_full_is_searched_by_jobs_only():
    full = {"hyperparameters": {"mode": "full"}}
    tuning = run(full).tuning
    assert (tuning.where, tuning.mode, tuning.inside) == ("jobs", "full", None)
    assert tuning.ranges.keys() == {"full_learning_rate", "layer_decay", "keep", "weight_decay", "label_smoothing"}
    assert "inside the training job only mode head can be searched" in refusal(full, where="inside")
    gpus = run({"training_instance_type": "ml.g5.xlarge"}).tuning
    assert (gpus.mode, gpus.where, gpus.jobs.minutes) == ("full", "jobs", None)


def test_on_ec2_a_search_runs_inside_the_one_machine():
    queues = {"ec2_spot_queue": "arn:s", "ec2_on_demand_queue": "arn:d"}
    settings = PlanSettings(**{**vars(SETTINGS), **queues})
    request = Request(train_on="ec2", tune={"trials": 8})
    plan = decide(request, settings, "x", DOGS, WEIGHTS, IMAGES, None)
    assert plan.tuning.where == "inside"
    assert "tune" in plan.training.hyperparameters
    assert "train_on is ec2" in refusal({"train_on": "ec2"}, where="jobs")


def test_a_search_has_a_key_of_its_own_on_either_way():
    keys = {
        run(trials=8).training.key,
        run(trials=9).training.key,
        run(trials=8, where="jobs").training.key,
        run(trials=9, where="jobs").training.key,
        decide(Request(), SETTINGS, "x", DOGS, WEIGHTS, IMAGES, None).training.key,
    }
    assert len(keys) == 5
    assert run(trials=8).training.key == run(None, "y", trials=8).training.key


def with_endpoint(endpoint, name="x", /, **tune):
    settings = PlanSettings(**{**vars(SETTINGS), "endpoint_name": endpoint})
    return decide(Request.model_validate({"tune": tune}), settings, name, DOGS, WEIGHTS, IMAGES, None).tuning


@pytest.mark.parametrize("endpoint", ["dogs", "d" * 8, "d" * 23])
def test_the_names_of_both_tuning_jobs_fit_sagemaker_and_differ_between_runs(endpoint):
    names = [with_endpoint(endpoint, name, where="jobs").job_name for name in ("20261123-101500", "a" * 80, "x")]
    every = {each for name in names for each in (name, repeated_job_name(name))}
    assert len(every) == 6
    for name in every:
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}", name)  # the pattern of SageMaker's API
        assert re.match(rf"{endpoint}-.*[0-9a-f]{{6}}(-r)?$", name)  # The roles may use names that begin so.


def test_an_endpoint_whose_name_leaves_no_room_for_those_of_jobs_is_searched_inside():
    tuning = with_endpoint("d" * 24)
    assert (tuning.where, tuning.job_name) == ("inside", "")
    with pytest.raises(RequestError, match=r"has 24 characters; .* an EndpointName of at most 23 characters"):
        with_endpoint("d" * 24, where="jobs")


# Without a known price the shorter time decides; that of long trainings by many jobs is the shorter one.
LONG = {
    "training_instance_type": "ml.m6id.large",
    "training_instance_count": 1,
    "hyperparameters": {"mode": "head", "epochs": 5_000},
}
FULL = {"hyperparameters": {"mode": "full"}}


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ({"strategy": "hyperband"}, "tune.strategy: as jobs of their own, trials are not searched by hyperband"),
        ({"max_parallel": 11}, "tune.max_parallel: SageMaker runs 10 training jobs of a search at once and not 11"),
    ],
)
def test_what_jobs_cannot_search_runs_inside_or_is_refused(tune, sentence):
    assert refusal(where="jobs", **tune).startswith(sentence)
    assert refusal(FULL, **tune).startswith(sentence)
    assert run(LONG).tuning.where == "jobs"
    inside = run(LONG, **tune).tuning
    assert inside.where == "inside"
    assert f"jobs are impossible here ({sentence}" in inside.reason


def test_minutes_beyond_the_time_of_the_jobs_are_refused():
    by_jobs = "tune.minutes: a search by jobs has 480 minutes at most and not 481"
    assert refusal(where="jobs", minutes=481).startswith(by_jobs)
    assert refusal(FULL, minutes=481).startswith(by_jobs)
    # The job has 240 minutes. Beside the trials it computes 9,000 features at 92 a second for each of 8 vCPUs, in 12 s,
    # and trains 2.26 s of a core, which is below a minute.
    assert run(minutes=239).tuning.where == "inside"
    for where in ("auto", "inside"):
        assert refusal(minutes=240, where=where) == (
            "tune.minutes: inside the training job, which ends after 240 minutes, a search of this data has 239 at "
            "most and not 240; lower it, or ask for jobs"
        )
    assert refusal(minutes=481).endswith("at most and not 481; lower it")
    assert run(minutes=480, where="jobs").tuning.where == "jobs"


def test_a_search_that_takes_longer_than_its_job_is_refused_unless_minutes_end_it():
    # 10,000 epochs of 7,200 photos take 1,411.2 s of a core. 750 trials take a quarter of it each, on 2 vCPUs.
    slow = {"training_instance_type": "ml.c7i.large", "training_instance_count": 1}
    slow["hyperparameters"] = {"epochs": 10_000}
    message = refusal(slow, trials=750, where="inside")
    assert message.startswith("tune.trials: inside the training job they would take about 2,205 minutes, and the job,")
    assert run(slow, trials=750).tuning.where == "jobs"
    assert run(slow, trials=750, where="inside", minutes=60).tuning.where == "inside"


def test_minutes_in_which_nothing_can_end_are_refused():
    # One job takes 120 s to start, 12.2 s of features and 2.26 s of training; a trial inside takes these 2.26 s.
    assert refusal(where="jobs", minutes=2) == (
        "tune.minutes: one training job of the search takes about 2.3 minutes, and minutes is 2, so none would come to "
        "its end; raise it"
    )
    assert run(where="jobs", minutes=2.5).tuning.where == "jobs"
    assert run(minutes=2).tuning.where == "inside"
    assert "one trial takes about 0.1 minutes" in refusal(minutes=0.01)


def test_advice_does_not_lead_to_another_refusal():
    on_ec2 = FULL | {"train_on": "ec2"}
    assert refusal(on_ec2, where="inside").endswith('add {"hyperparameters": {"mode": "head"}}')
    assert refusal(FULL, where="inside").endswith('add {"hyperparameters": {"mode": "head"}}, or ask for jobs')
    assert refusal(FULL, where="inside", strategy="hyperband").endswith('add {"hyperparameters": {"mode": "head"}}')
    assert refusal({"train_on": "ec2"}, where="jobs").endswith("ask for inside, or leave out train_on")
    for where in ("auto", "jobs"):
        message = refusal(on_ec2, where=where)
        assert message.endswith('ask for inside with {"hyperparameters": {"mode": "head"}}, or leave out train_on')


@pytest.mark.parametrize("size", ["0xlarge", "metal", "nano", "x"])
def test_a_size_that_tells_no_vcpus_is_quoted_as_unknown(size):
    for mode in ("head", "full"):
        fields = {"training_instance_type": f"ml.c5.{size}", "hyperparameters": {"mode": mode}}
        tuning = run(fields).tuning
        assert (tuning.jobs.minutes, tuning.jobs.dollars) == (None, None)
        assert "nobody has measured what they take" in tuning.reason


@pytest.mark.parametrize("epochs", ['"20"', " 20 ", "20", 20])
def test_epochs_are_read_as_the_training_reads_them(epochs):
    plan = run({"hyperparameters": {"epochs": epochs, "seed": '"5"'}}, trials=16)
    # 20 epochs of 7,200 photos take 2.82 s of a core: (16 * 0.25 + 8) * 2.82 s on 8 vCPUs = 4.2 s.
    assert plan.tuning.inside.dollars == pytest.approx(4.23 * 0.42 / 3600, abs=1e-4)
    assert (plan.training.hyperparameters["epochs"], plan.training.hyperparameters["seed"]) == ("20", "5")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("efficientnet_lite0", "must be a list of values"),
        ([None, "efficientnet_lite0"], "must contain names, not null"),
        (["efficientnet_lite0", " efficientnet_lite0"], "a value is in the list twice"),
        (["efficientnet_lite0", '"efficientnet_lite0"'], "a value is in the list twice"),
    ],
)
def test_backbones_are_read_as_the_training_reads_them(given, sentence):
    with pytest.raises(RequestError) as error:
        ranges.backbones({"backbone": given})
    assert str(error.value) == f"tune.ranges.backbone: {sentence}"
    assert refusal(ranges={"backbone": given}) == f"tune.ranges.backbone: {sentence}"
    assert ranges.backbones({"backbone": ['"efficientnet_lite0"', "efficientnet_lite2 "]}) == [
        "efficientnet_lite0",
        "efficientnet_lite2",
    ]
    assert ranges.backbones({}) == []


def test_the_most_that_jobs_can_search_is_accepted():
    tuning = run(where="jobs", max_parallel=10, minutes=480).tuning
    assert (tuning.where, tuning.max_parallel, tuning.minutes) == ("jobs", 10, 480)
    assert run(where="jobs", max_parallel=100, trials=8).tuning.max_parallel == 8


def test_trials_keep_their_checkpoints_beside_those_that_trainings_download():
    plan = run(where="jobs")
    assert plan.tuning.checkpoint_uri == "s3://b/checkpoints/trials"
    assert not plan.tuning.checkpoint_uri.startswith(plan.training.checkpoint_uri)


def test_ranges_that_sagemaker_would_cut_off_are_refused():
    many = {name: [i / 1000 + 0.01 for i in range(30)] for name in ("learning_rate", "pull")}
    many |= {"epochs": list(range(10_000 - 30, 10_000)), "global_batch_size": list(range(999_960, 999_990))}
    assert len(run(ranges=many).training.hyperparameters["tune"]) < 2500
    many |= {name: [i / 1e13 + 0.1234567 for i in range(30)] for name in ("learning_rate", "pull")}
    many["backbone"] = [f"backbone-{i:040}" for i in range(30)]
    assert "SageMaker allows 2500" in refusal(ranges=many, where="inside")
    # It is a limit of one hyperparameter. Jobs get each range by itself.
    assert run(ranges=many, where="jobs").tuning.where == "jobs"
    assert run(ranges=many).tuning.where == "jobs"
