"""What AWS's training toolkit does in AWS's own images, for jobs that name no entry point of their own.

Such a job gives its script by the hyperparameters ``sagemaker_program`` and ``sagemaker_submit_directory``. The toolkit
unpacks the archive of that place to ``/opt/ml/code``, installs its ``requirements.txt`` and runs the program there. The
other hyperparameters are its arguments, and variables ``SM_…`` describe the job. This is the form of
aws/sagemaker-training-toolkit, ``environment.py``, ``mapping.py`` and ``entry_point.py``.
"""

import json
import os
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.core import archives
from cloud.core.uris import S3Uri, StorageError
from cloud.s3 import objects
from cloud.sagemaker.jobs.host import JobError, JobHost

PROGRAM = "sagemaker_program"
_ARCHIVE = "sagemaker_submit_directory"
_CODE = "/opt/ml/code"
_OWN = ("sagemaker_", "_tuning_")  # Hyperparameters that begin so are the toolkit's; the program does not get them.
# The words after the folder are the program with its arguments. Packages are installed for this container alone.
_RUN = (
    'cd "$0" && if [ -f requirements.txt ]; then python3 -m pip install -q -r requirements.txt || exit 1; fi; exec "$@"'
)


def has_program(hyperparameters: Mapping[str, str]) -> bool:
    """Return whether a job gives its script by its hyperparameters."""
    return PROGRAM in hyperparameters


def fetch_code(hosts: Sequence[JobHost], hyperparameters: Mapping[str, str], caller: str) -> None:
    """Unpack the job's archive, if it names one, on every host.

    Args:
        hosts: the job's hosts.
        hyperparameters: the request's.
        caller: access key of the job's role, which must be allowed to read the archive.

    Raises:
        JobError: there is no such archive, or it has not the program.
    """
    decoded = _decoded(hyperparameters)
    place, program = str(decoded.get(_ARCHIVE, "")), str(decoded[PROGRAM])
    if not place.startswith("s3://"):
        return  # The code is in the container, for example in a channel.
    for host in hosts:
        folder = host.opt_ml.path(_CODE)
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder.with_name("sourcedir.tar.gz")
        try:
            objects.download(S3Uri.parse(place), archive, caller)
            archives.unpack(archive, folder)
        except (StorageError, tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise JobError(f"ClientError: cannot read {_ARCHIVE} {place}: {error}") from None
        finally:
            archive.unlink(missing_ok=True)
        if not (folder / program).is_file():
            raise JobError(f"ClientError: {place} has no {program}, which {PROGRAM} names")


def command(hyperparameters: Mapping[str, str]) -> list[str]:
    """Return the command that runs the job's program."""
    decoded = _decoded(hyperparameters)
    program, place = str(decoded[PROGRAM]), str(decoded.get(_ARCHIVE, _CODE))
    start = ["/bin/sh"] if program.endswith(".sh") else ["python3"]
    folder = _CODE if place.startswith("s3://") else place
    return ["/bin/sh", "-c", _RUN, folder, *start, program, *_arguments(_of_program(decoded))]


def environment(request: Mapping[str, Any], host: str, resources: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that describe a job to its program.

    Args:
        request: the request of CreateTrainingJob.
        host: the host's name.
        resources: the content of resourceconfig.json.
    """
    decoded = _decoded(request["HyperParameters"])
    own = _of_program(decoded)
    channels = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    program = str(decoded[PROGRAM])
    described = {
        "channel_input_dirs": {name: f"/opt/ml/input/data/{name}" for name in channels},
        "current_host": host,
        "current_instance_type": resources["current_instance_type"],
        "hosts": resources["hosts"],
        "hyperparameters": own,
        "input_config_dir": "/opt/ml/input/config",
        "input_dir": "/opt/ml/input",
        "model_dir": "/opt/ml/model",
        "module_dir": str(decoded.get(_ARCHIVE, _CODE)),
        "module_name": Path(program).stem,
        "network_interface_name": resources["network_interface_name"],
        "num_cpus": os.cpu_count() or 1,
        "num_gpus": 0,
        "output_data_dir": "/opt/ml/output/data",
        "output_dir": "/opt/ml/output",
        "user_entry_point": program,
    }
    variables = {
        f"SM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in described.items()
        if name not in ("channel_input_dirs", "hyperparameters")
    }
    return {
        **variables,
        **{f"SM_CHANNEL_{name.upper()}": f"/opt/ml/input/data/{name}" for name in channels},
        **{
            f"SM_HP_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in own.items()
        },
        "SM_CHANNELS": json.dumps(sorted(channels)),
        "SM_HPS": json.dumps(own),
        "SM_RESOURCE_CONFIG": json.dumps(resources),
        "SM_TRAINING_ENV": json.dumps({**described, "job_name": request["TrainingJobName"]}),
        "SM_USER_ARGS": json.dumps(_arguments(own)),
    }


def _decoded(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the hyperparameters with those decoded that are JSON, as SDKs have written them."""
    decoded: dict[str, Any] = {}
    for name, text in hyperparameters.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def _of_program(decoded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decoded.items() if not name.startswith(_OWN)}


def _arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Return ``--name value`` for each hyperparameter, ``-n value`` for names of one letter, sorted by name."""
    return [
        word
        for name, value in sorted(hyperparameters.items())
        for word in (f"--{name}" if len(name) > 1 else f"-{name}", _argument(value))
    ]


def _argument(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in sorted(value.items()))
    return str(value)
