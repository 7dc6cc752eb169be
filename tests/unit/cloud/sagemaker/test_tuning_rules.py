"""What CreateHyperParameterTuningJob refuses, by AWS's pages and by messages that users have seen."""

import copy
from typing import Any

import pytest

from cloud.core import emulator
from cloud.core.protocol import ApiError, problems_of
from cloud.sagemaker.tuning import rules

LR = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}
DEPTH = {"Name": "depth", "MinValue": "1", "MaxValue": "3"}
BREEDS = {"Name": "backbone", "Values": ["lite0", "lite2"]}


def definition(**changes: Any) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingImage": "000000000000.dkr.ecr.us-east-1.amazonaws.com/train:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "top1", "Regex": "top1=(.*)"}],
        },
        "RoleArn": "arn:aws:iam::000000000000:role/job",
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **changes,
    }


def request(name: str = "t", **config: Any) -> dict[str, Any]:
    """A request that is taken, with changes of HyperParameterTuningJobConfig."""
    taken = {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "top1"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {"ContinuousParameterRanges": [LR]},
    }
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {key: value for key, value in {**taken, **config}.items() if value},
        "TrainingJobDefinition": definition(),
    }


def several(*names: str, **config: Any) -> dict[str, Any]:
    base = request(HyperParameterTuningJobObjective=None, ParameterRanges=None, **config)
    del base["TrainingJobDefinition"]
    objective = {"Type": "Maximize", "MetricName": "top1"}
    parts = {"TuningObjective": objective, "HyperParameterRanges": {"ContinuousParameterRanges": [LR]}}
    return base | {"TrainingJobDefinitions": [definition(DefinitionName=name, **parts) for name in names]}


def limits(most: int | None, parallel: int = 1) -> dict[str, int]:
    return {"MaxParallelTrainingJobs": parallel} | ({"MaxNumberOfTrainingJobs": most} if most else {})


def hyperband(**resources: int) -> dict[str, Any]:
    return {"Strategy": "Hyperband", "StrategyConfig": {"HyperbandStrategyConfig": resources}}


def only(kind: str, *ranges: dict[str, Any]) -> dict[str, Any]:
    return {"ParameterRanges": {f"{kind}ParameterRanges": list(ranges)}}


def checked(asked: dict[str, Any]) -> None:
    """Hold a request against botocore's model and the rules."""
    shape = emulator.service_model("sagemaker").operation_model("CreateHyperParameterTuningJob").input_shape
    assert list(problems_of(asked, shape)) == []
    rules.tuning_job(asked)


TAKEN = [
    request(),
    request(ResourceLimits=limits(None), TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.9}),
    request(Strategy="Random", TrainingJobEarlyStoppingType="Auto", RandomSeed=7),
    request(Strategy="Grid", ResourceLimits=limits(2), **only("Categorical", BREEDS)),
    request(Strategy="Grid", ResourceLimits=limits(None), **only("Categorical", BREEDS)),
    request(**hyperband(MinResource=1, MaxResource=9)),
    request(ResourceLimits=limits(750, 10)),
    request(**only("Continuous", {**LR, "MaxValue": "0.9", "ScalingType": "ReverseLogarithmic"})),
    request(**only("Continuous", *({**LR, "Name": f"p{number}"} for number in range(30)))),
    several("a", "b"),
    several("a", "b", Strategy="Random"),
]


@pytest.mark.parametrize("asked", TAKEN)
def test_a_request_within_the_rules_is_taken(asked: dict[str, Any]) -> None:
    checked(asked)


REFUSED = [
    (request(ResourceLimits=limits(12, 11)), "ResourceLimitExceeded", "training jobs at the same time"),
    (request(ResourceLimits=limits(751)), "ResourceLimitExceeded", "is 750"),
    (request(ResourceLimits=limits(2, 3)), "ValidationException", "must not exceed MaxNumberOfTrainingJobs 2"),
    (
        request(
            ParameterRanges={
                "ContinuousParameterRanges": [{**LR, "Name": f"p{number}"} for number in range(30)],
                "CategoricalParameterRanges": [BREEDS],
            }
        ),
        "ResourceLimitExceeded",
        "is 30",
    ),
    (
        request(**hyperband(MaxResource=9), TrainingJobEarlyStoppingType="Auto"),
        "ValidationException",
        "TrainingJobEarlyStoppingType must be Off when Strategy is Hyperband",
    ),
    (
        request(Strategy="Hyperband"),
        "ValidationException",
        "MaxResource parameter is not provided and could not be inferred from provided static hyperparameters",
    ),
    (request(**hyperband(MaxResource=20_001)), "ValidationException", "from MinResource 1 to 20000"),
    (request(**hyperband(MinResource=5, MaxResource=4)), "ValidationException", "from MinResource 5"),
    (
        request(**hyperband(MaxResource=9) | {"Strategy": "Random"}),
        "ValidationException",
        "StrategyConfig is supported only when Strategy is Hyperband",
    ),
    (request(Strategy="Grid"), "ValidationException", "Only CategoricalParameterRanges are supported"),
    (
        request(Strategy="Grid", **only("Categorical", BREEDS)),
        "ValidationException",
        "number of distinct combinations of categories, 2,",
    ),
    (
        request(ResourceLimits=limits(10), **only("Integer", DEPTH)),
        "ValidationException",
        "for the provided ranges [3.0] must be equal or greater than the value of MaxNumberOfJobs, [10]",
    ),
    (
        request(HyperParameterTuningJobObjective={"Type": "Maximize", "MetricName": "loss"}),
        "ValidationException",
        "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric definitions",
    ),
    (
        request(HyperParameterTuningJobObjective=None),
        "ValidationException",
        "HyperParameterTuningJobObjective is missing",
    ),
    (request(ParameterRanges=None), "ValidationException", "at least one hyperparameter"),
    (request(**only("Continuous", {**LR, "MinValue": "0.2"})), "ValidationException", "must be less than MaxValue 0.1"),
    (request(**only("Continuous", {**LR, "MinValue": "x"})), "ValidationException", "MinValue 'x' is not a number"),
    (request(**only("Integer", {**DEPTH, "MinValue": "1.5"})), "ValidationException", "is not a whole number"),
    (
        request(**only("Continuous", {**LR, "MinValue": "0", "ScalingType": "Logarithmic"})),
        "ValidationException",
        "only values greater than 0",
    ),
    (
        request(**only("Continuous", {**LR, "MaxValue": "1.0", "ScalingType": "ReverseLogarithmic"})),
        "ValidationException",
        "within 0<=x<1.0",
    ),
    (
        request(**only("Integer", {**DEPTH, "ScalingType": "ReverseLogarithmic"})),
        "ValidationException",
        "only for continuous",
    ),
    (request(**only("Continuous", LR, LR)), "ValidationException", "hyperparameter lr twice"),
    (
        request(**only("Categorical", {"Name": "b", "Values": ["x", "x"]})),
        "ValidationException",
        "The range of b has value x twice",
    ),
    (
        request(ParameterRanges={"AutoParameters": [{"Name": "lr", "ValueHint": "0.1"}]}),
        "ValidationException",
        "AutoParameters needs Autotune",
    ),
    (several("a", "a"), "ValidationException", "definition a twice"),
    (
        several("a", TrainingJobEarlyStoppingType="Auto"),
        "ValidationException",
        "Auto is available only when tuning a single algorithm",
    ),
    (request() | several("a"), "ValidationException", "either TrainingJobDefinition or TrainingJobDefinitions"),
]


@pytest.mark.parametrize(("asked", "code", "message"), REFUSED)
def test_a_request_beyond_the_rules_is_refused(asked: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        checked(asked)
    assert refused.value.code == code
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"StaticHyperParameters": {"lr": "1"}}, "lr is both in ParameterRanges and in StaticHyperParameters"),
        ({"StaticHyperParameters": {"_tuning_objective_metric": "x"}}, "_tuning_objective_metric is SageMaker's own"),
        (
            {"TuningObjective": {"Type": "Maximize", "MetricName": "top1"}},
            "TuningObjective is for TrainingJobDefinitions",
        ),
        ({"HyperParameterTuningResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1}}, "and not both"),
    ],
)
def test_a_definition_beyond_the_rules_is_refused(changes: dict[str, Any], message: str) -> None:
    asked = request()
    asked["TrainingJobDefinition"] |= changes
    with pytest.raises(ApiError) as refused:
        checked(asked)
    assert message in refused.value.message


def test_a_name_has_at_most_32_characters() -> None:
    shape = emulator.service_model("sagemaker").operation_model("CreateHyperParameterTuningJob").input_shape
    assert list(problems_of(request("a" * 32), shape)) == []
    assert "hyperParameterTuningJobName" in next(problems_of(request("a" * 33), shape))


def test_hyperband_finds_the_epochs_among_the_static_hyperparameters() -> None:
    asked = request(Strategy="Hyperband")
    asked["TrainingJobDefinition"]["StaticHyperParameters"] = {"num_epochs": "30"}
    checked(asked)


def static(count: int) -> dict[str, Any]:
    asked = request()
    asked["TrainingJobDefinition"]["StaticHyperParameters"] = {f"s{number}": "old" for number in range(count)}
    return asked


def test_a_warm_start_keeps_objective_number_and_kinds_of_hyperparameters() -> None:
    child = static(5)
    rules.warm_start(child, [(static(5), 3)])
    with pytest.raises(ApiError, match="must be that of parent tuning job t, 5, not 6"):
        rules.warm_start(child, [(static(4), 3)])
    other = static(5)
    other["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] = {
        "Type": "Minimize",
        "MetricName": "top1",
    }
    with pytest.raises(ApiError, match="The objective metric must be that of parent"):
        rules.warm_start(child, [(other, 3)])
    categorical = static(5)
    categorical["HyperParameterTuningJobConfig"]["ParameterRanges"] = {
        "CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.1", "0.2"]}]
    }
    with pytest.raises(ApiError, match="Hyperparameter lr must be categorical"):
        rules.warm_start(child, [(categorical, 3)])


def test_a_warm_start_changes_at_most_10_values() -> None:
    """Each changed static value counts twice: the old one and the new one."""
    child, parent = static(6), static(6)
    changed = {f"s{number}": "new" for number in range(5)}
    child["TrainingJobDefinition"]["StaticHyperParameters"] |= changed
    rules.warm_start(child, [(parent, 1)])
    changed_more = copy.deepcopy(child)
    changed_more["TrainingJobDefinition"]["StaticHyperParameters"]["s5"] = "new"
    with pytest.raises(ApiError, match="count 12 changes; 10 are allowed"):
        rules.warm_start(changed_more, [(parent, 1)])


def test_the_training_jobs_of_parents_count_against_the_limit() -> None:
    rules.warm_start(static(1), [(static(1), 400), (static(1), 347)])
    with pytest.raises(ApiError, match="750 training jobs altogether"):
        rules.warm_start(static(1), [(static(1), 400), (static(1), 348)])
