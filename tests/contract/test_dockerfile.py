"""The Dockerfile copies and installs what the code in the images imports."""

import ast
import json
import re
import shlex
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cloud.ecr.images import stages_of

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "serving/Dockerfile").read_text()
STAGES = stages_of(DOCKERFILE, {})
PACKAGES = {
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
}  # packages whose import name differs from the name in the index
LEFT_OUT = {"openvino-telemetry"}
# Modules that an image contains and never imports.
EVALUATION = ("card", "challenger", "dataset_photos", "export", "own_file", "own_model", "quantize")
NOT_RUN = {
    "serve": {"dataset.other_formats", *(f"serving.{name}" for name in EVALUATION)},
    "evaluate": set(),
    "train": set(),
}
OUR_CODE = {
    "serve": {"dataset", "serving"},
    "evaluate": {"dataset", "networks", "serving"},
    "train": {"dataset", "networks", "training"},
}
NEEDED = {
    "serve": {"numpy", "openvino", "pillow", "starlette", "uvicorn"},
    "evaluate": {
        "numpy",
        "openvino",
        "pillow",
        "pillow-heif",
        "safetensors",
        "starlette",
        "torch",
        "torchvision",
        "uvicorn",
    },
    "train": {"boto3", "botocore", "numpy", "pillow", "pillow-heif", "safetensors", "torch", "torchvision"},
}


def instructions(word):
    lines = re.sub(r"\\\n(\s*#.*\n)*", " ", DOCKERFILE).splitlines()
    return [line.split(maxsplit=1)[1] for line in lines if line.startswith(f"{word} ")]


def pinned(name):
    """Return the packages of a hashed requirements file, each with its version and its number of hashes."""
    text = re.sub(r"^ *#.*\n?", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    packages = {}
    for line in filter(str.strip, text.replace("\\\n", " ").splitlines()):
        requirement, *hashes = line.split()
        package, version = requirement.split("==")
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), line
        packages[package] = (version, len(hashes))
    return packages


def requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


INSTALLED = {"serve": pinned("serving/requirements.txt"), "train": pinned("training/requirements-cpu.txt")}
INSTALLED["evaluate"] = INSTALLED["serve"] | pinned("serving/requirements-evaluate.txt")
CUDA = pinned("training/requirements-cuda.txt")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("target", ["serve", "evaluate", "train"])
def test_image_has_what_its_code_imports(target):
    """The image that serves neither has nor needs torch. Only modules of the evaluation import it."""
    copied = {source.strip("/") for source, _ in STAGES[target].copies if (ROOT / source).is_dir()}
    assert copied == OUR_CODE[target]
    modules = [path for folder in copied for path in (ROOT / folder).rglob("*.py")]
    used = {
        name.split(".")[0]
        for path in modules
        if ".".join(path.relative_to(ROOT).with_suffix("").parts) not in NOT_RUN[target]
        for name in imported(path)
    }
    foreign = {PACKAGES.get(name, name) for name in used - set(sys.stdlib_module_names) - copied}
    assert foreign >= NEEDED[target]
    assert foreign <= set(INSTALLED[target])


def test_server_image_has_no_torch_and_the_others_have_one_version_of_it():
    assert "torch" not in INSTALLED["serve"]
    assert INSTALLED["evaluate"]["torch"] == INSTALLED["train"]["torch"]
    assert INSTALLED["evaluate"]["torchvision"] == INSTALLED["train"]["torchvision"]
    version, local = INSTALLED["train"]["torch"][0].split("+")
    assert local == "cpu"
    for target in ("evaluate", "train"):
        assert not [name for name in INSTALLED[target] if name.startswith(("nvidia", "triton"))]
    assert CUDA["torch"][0] == version
    assert {"nvidia-cublas", "triton"} <= set(CUDA)
    assert CUDA["torchvision"] == INSTALLED["train"]["torchvision"]


def test_training_device_chooses_the_packages_of_the_training_image_alone():
    for target in ("train", "evaluate", "serve"):
        files = {
            device: [source for source, _ in stages_of(DOCKERFILE, {"TRAINING_DEVICE": device})[target].copies]
            for device in ("cpu", "cuda")
        }
        assert (files["cpu"] != files["cuda"]) == (target == "train")
    assert "training/requirements-cuda.txt" in [
        source for source, _ in stages_of(DOCKERFILE, {"TRAINING_DEVICE": "cuda"})["train"].copies
    ]


def test_copied_files_are_in_the_context_and_nothing_else_is():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for stage in STAGES.values() for source, _ in stage.copies}
    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} == kept
    assert "\n*\n" in (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize("packages", [*INSTALLED.values(), CUDA])
def test_every_package_is_pinned_and_hashed(packages):
    assert all(hashes >= 1 for _, hashes in packages.values())


def test_both_requirements_files_agree():
    serve, more = pinned("serving/requirements.txt"), pinned("serving/requirements-evaluate.txt")
    assert {name: serve[name][0] for name in serve.keys() & more.keys()} == {
        name: more[name][0] for name in serve.keys() & more.keys()
    }


@pytest.mark.parametrize(
    "name",
    [
        "serving/requirements",
        "serving/requirements-evaluate",
        "training/requirements-cpu",
        "training/requirements-cuda",
    ],
)
def test_pins_fit_the_requirements_and_the_project(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    allowed = {each.name: each.specifier for each in map(Requirement, project)}
    versions = {package: version for package, (version, _) in pinned(f"{name}.txt").items()}
    for each in requirements(f"{name}.in"):
        assert each.specifier.contains(versions[each.name])
        assert each.name not in allowed or allowed[each.name].contains(versions[each.name]), each.name


@pytest.mark.parametrize("target", ["serve", "train"])
def test_requirements_of_the_packages_are_pinned_too(target):
    """Pip installs without dependencies, so that it installs nothing without a hash."""
    for package in INSTALLED[target]:
        needed = [Requirement(text) for text in requires(package) or []]
        here = [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
        assert {canonicalize_name(name) for name in here} <= set(INSTALLED[target]) | LEFT_OUT, package


def test_pip_takes_only_hashed_wheels_and_leaves_no_cache():
    commands = [run for run in instructions("RUN") if "pip install" in run]
    assert len(commands) == 3
    for command in commands:
        assert {"--require-hashes", "--no-deps", "--only-binary", "--no-cache-dir"} <= set(shlex.split(command))


def test_server_starts_as_root_and_changes_to_a_user():
    server, evaluation, launcher = map(json.loads, instructions("ENTRYPOINT"))
    assert server[:3] == ["python", "-m", "serving"]
    assert int(server[server.index("--user") + 1]) > 0
    assert evaluation == ["python", "-m", "serving.evaluate"]
    assert launcher == ["python", "-m", "training.launch", "--root", "/opt/ml"]
    assert instructions("EXPOSE") == ["8080"]
    assert not instructions("USER")  # SageMaker requires containers that start as root.


def test_image_is_labelled_with_its_contents_hash_and_its_base():
    arguments = {"CONTENT_HASH": "12ab", "BASE_IMAGE": "python:3@sha256:12"}
    for stage in ("evaluate", "serve", "train"):
        assert stages_of(DOCKERFILE, arguments)[stage].labels == {
            "kennel.content-hash": "12ab",
            "org.opencontainers.image.base.name": "python:3@sha256:12",
        }
