"""Make a virtual environment, or make it anew if it is of no use: ``PYTHON local/venv.py FOLDER NAME``.

NAME is how the user called this Python. The Makefile runs this file by itself, maybe with a Python that is too old, so
it uses nothing that Python 3.6 lacks.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11, 4)  # as in pyproject.toml
_PROBE = "import sys, pip; print(*sys.version_info[:3])"


def main(folder, name):
    """Make the environment unless there is one that is of use; return the exit code."""
    if sys.version_info[:3] < OLDEST:
        return _refuse(
            f"Kennel needs Python {_words(OLDEST)} or newer, {name} is {_words(sys.version_info[:3])}; "
            "name another: make run PYTHON=python3.12"
        )
    version = _version(folder)
    finished = os.path.exists(os.path.join(folder, "run.stamp")) or os.path.exists(os.path.join(folder, "lock.stamp"))
    if version >= OLDEST and (finished or version[:2] == sys.version_info[:2]):
        return 0
    is_own = os.path.isfile(os.path.join(folder, "pyvenv.cfg"))
    if os.path.lexists(folder) and not is_own and (not os.path.isdir(folder) or os.listdir(folder)):
        return _refuse(f"{folder} is in the way and is not a virtual environment; move or delete it")
    parent = os.path.dirname(os.path.abspath(folder))
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if not os.access(parent, os.W_OK):
        why = f"{folder} cannot be made, because {parent} cannot be written"
        return _refuse(f"{why}; copy the project to a folder of yours")
    needed, free = 3 if os.path.basename(folder) == ".venv" else 1, shutil.disk_usage(parent).free / 1e9
    if free < needed:  # The packages take 2.2 GB, without CUDA; those of another environment less.
        return _refuse(f"{folder} needs about {needed} GB, and {parent} has {free:.1f} GB left; free some")
    try:
        import ensurepip  # noqa: F401 - Debian has it in another package.
    except ImportError:
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        return _refuse(f"{name} cannot make virtual environments; on Debian and Ubuntu: apt install {package}")
    if version:
        print(f"Making {folder} anew: it has Python {_words(version)}")
    os.umask(0o022)  # The laptop's model server gives up root, and must then still read its packages.
    return subprocess.call([sys.executable, "-m", "venv", "--clear", folder])


def _version(folder):
    """Return the version of the environment's Python; empty if it does not start or has no pip."""
    try:
        command = [os.path.join(folder, "bin", "python"), "-c", _PROBE]
        printed = subprocess.check_output(command, stderr=subprocess.DEVNULL)
        return tuple(int(number) for number in printed.split())
    except (OSError, ValueError, subprocess.CalledProcessError):
        return ()


def _words(version):
    return ".".join(str(number) for number in version)


def _refuse(sentence):
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
