"""How a script is started in AWS's own image: arguments and variables as its training toolkit gives them.

The expected values are those of sagemaker-training 5.1.4 from PyPI with the same configuration.
"""

import json

from cloud.sagemaker.jobs import toolkit
from cloud.sagemaker.opt_ml import resource_config

HYPERPARAMETERS = {
    "sagemaker_program": "train.py",
    "sagemaker_submit_directory": "s3://bucket/sourcedir.tar.gz",
    "_tuning_objective_metric": "top1",
    "lr": "0.1",
    "optimizer": '"adam"',
    "e": "3",
    "note": "a b",
    "fast": "true",
    "layers": "[1, 2]",
    "options": '{"b": 1, "a": "x"}',
}


def test_hyperparameters_become_arguments() -> None:
    shell, option, script, folder, *program = toolkit.command(HYPERPARAMETERS)
    assert (shell, option, folder) == ("/bin/sh", "-c", "/opt/ml/code")
    assert script.endswith('exec "$@"')
    arguments = [
        *("-e", "3", "--fast", "True", "--layers", "[1, 2]", "--lr", "0.1", "--note", "a b"),
        *("--optimizer", "adam", "--options", "a=x,b=1"),
    ]
    assert program == ["python3", "train.py", *arguments]


def test_a_shell_script_in_a_channel_runs_there() -> None:
    hyperparameters = {
        "sagemaker_program": "train.sh",
        "sagemaker_submit_directory": "/opt/ml/input/data/code",
    }
    assert toolkit.command(hyperparameters)[3:] == ["/opt/ml/input/data/code", "/bin/sh", "train.sh"]


def test_variables_describe_the_job() -> None:
    request = {
        "TrainingJobName": "t-001",
        "HyperParameters": HYPERPARAMETERS,
        "InputDataConfig": [{"ChannelName": "train"}, {"ChannelName": "sm_drivers"}],
    }
    resources = resource_config("algo-2", ["algo-1", "algo-2"], "ml.m5.xlarge")
    variables = toolkit.environment(request, "algo-2", resources)
    assert variables["SM_CHANNEL_TRAIN"] == "/opt/ml/input/data/train"
    assert json.loads(variables["SM_CHANNELS"]) == ["sm_drivers", "train"]
    assert (variables["SM_CURRENT_HOST"], json.loads(variables["SM_HOSTS"])) == ("algo-2", ["algo-1", "algo-2"])
    assert (variables["SM_MODEL_DIR"], variables["SM_OUTPUT_DATA_DIR"]) == ("/opt/ml/model", "/opt/ml/output/data")
    assert (variables["SM_HP_LR"], variables["SM_HP_OPTIMIZER"]) == ("0.1", "adam")
    assert (variables["SM_HP_FAST"], json.loads(variables["SM_HP_OPTIONS"])) == ("true", {"a": "x", "b": 1})
    assert variables["SM_CURRENT_INSTANCE_TYPE"] == "ml.m5.xlarge"
    assert json.loads(variables["SM_HPS"]) == {
        "lr": 0.1,
        "optimizer": "adam",
        "e": 3,
        "note": "a b",
        "fast": True,
        "layers": [1, 2],
        "options": {"a": "x", "b": 1},
    }
    assert json.loads(variables["SM_TRAINING_ENV"])["job_name"] == "t-001"
    assert not [name for name in variables if "TUNING" in name or "SAGEMAKER" in name]
