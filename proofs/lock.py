"""``python -m proofs.lock [--upgrade]``: compile every list of packages that is installed outside the images.

It needs uv (``pip install uv``). Each list has the hashes of every file of every package, for every platform and Python
version, and lets pip install wheels only. Without ``--upgrade``, versions stay as they are where they still fit.

PyPI's torch for Linux requires CUDA's packages, several GB; a build for CPUs requires none of them. So the lists of the
laptop leave CUDA's packages to a list of their own, ``locks/cuda.lock``. Torch's builds for CPUs are another one,
``locks/torch-cpu.lock``, from the digests in ``locks/torch-cpu.sha256``.
See "Everything is installed by hash" in docs/decisions/project.md.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TORCH_CPU = ROOT / "locks/torch-cpu.sha256"
TORCH_CPU_LOCK = ROOT / "locks/torch-cpu.lock"
CUDA = ROOT / "locks/cuda.lock"
_OPTIONS = ("--universal", "--generate-hashes", "--only-binary", ":all:", "--emit-build-options", "--no-annotate")
_ONLY_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Lock(NamedTuple):
    """One list of packages.

    Attributes:
        path: The list, below the project's folder.
        sources: What it is compiled from: files, or options of uv.
        python: The oldest Python that installs it.
    """

    path: str
    sources: tuple[str, ...]
    python: str = "3.11.4"


LAPTOP = (
    Lock("locks/run.lock", ("pyproject.toml",)),
    Lock("locks/dev.lock", ("pyproject.toml", "--extra", "dev")),
)
LOCKS = (
    *LAPTOP,
    Lock("locks/checkov.lock", ("locks/checkov.in",)),
    Lock("locks/pip-audit.lock", ("locks/pip-audit.in",)),
    Lock("examples/requirements.lock", ("examples/requirements.in",)),
    Lock("functions/requirements.txt", ("functions/requirements.in", "--constraints", "locks/run.lock"), "3.11"),
    Lock(
        "functions/admit/requirements.txt",
        ("functions/admit/requirements.in", "--constraints", "locks/dev.lock"),
        "3.11",
    ),
    Lock("layers/jobs/requirements.txt", ("layers/jobs/requirements.in",), "3.8"),
)


def entries(text: str) -> dict[str, str]:
    """Return the entries of a list, each with its hashes, by the package's name and marker."""
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        found[entry.partition("\\")[0].strip()] = entry
    return found


def split(text: str) -> tuple[str, str]:
    """Return a list of the laptop, as uv writes it, without CUDA's packages, and CUDA's packages."""
    head, parts = text[: re.search(r"^[A-Za-z0-9]", text, re.MULTILINE).start()], entries(text)  # type: ignore[union-attr]
    cuda = {key: entry for key, entry in parts.items() if _ONLY_CUDA.fullmatch(_NAME.match(key)[0])}  # type: ignore[index]
    rest = {key: entry for key, entry in parts.items() if key not in cuda}
    return head + "".join(rest.values()), head + "".join(cuda.values())


def torch_cpu() -> str:
    """Return the list of torch's builds for CPUs."""
    files = [line.split() for line in TORCH_CPU.read_text().splitlines() if not line.startswith("#")]
    (version,) = {name.split("-")[1] for _, name in files}
    hashes = [f"    --hash=sha256:{digest}" for digest, _ in files]
    return " \\\n".join([f"--only-binary :all:\n\ntorch=={version}", *hashes]) + "\n"


def _compile(lock: Lock, upgrade: bool) -> None:
    options = ["--upgrade"] if upgrade else []
    if lock in LAPTOP and not upgrade:  # The list itself, from which uv takes the versions, no longer has these.
        options = ["--constraints", str(CUDA.relative_to(ROOT))]
    command = ["uv", "pip", "compile", "--quiet", *_OPTIONS, "--python-version", lock.python, *options]
    subprocess.run([*command, *lock.sources, "--output-file", lock.path, "--no-header"], cwd=ROOT, check=True)
    path = ROOT / lock.path
    text = path.read_text()
    if lock in LAPTOP:
        text, cuda = split(text)
        CUDA.write_text(
            f"# Compiled by `python -m proofs.lock` from {lock.sources[0]}: what PyPI's torch needs.\n{cuda}"
        )
    path.write_text(f"# Compiled by `python -m proofs.lock` from {lock.sources[0]}.\n{text}")


def main(arguments: list[str]) -> int:
    """Compile all lists; return the exit code."""
    parser = argparse.ArgumentParser(prog="proofs.lock", description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that are allowed")
    options = parser.parse_args(arguments)
    TORCH_CPU_LOCK.write_text(f"# Compiled by `python -m proofs.lock` from locks/torch-cpu.sha256.\n{torch_cpu()}")
    for lock in LOCKS:
        _compile(lock, options.upgrade)
        print(lock.path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
