"""The program that makes a container: it enters namespaces of its own, mounts the container's files and starts it.

``containers.py`` runs this file as a script, because a process with threads, such as the cloud, cannot do these steps
itself. It imports the standard library only, and as little of that as possible, since every job waits for it.

With a PID namespace, the process that was started stays outside of it: it hands SIGTERM on to process 1 of the
container and ends with its exit code. The kernel kills everything in the container when process 1 ends, and process 1
when the outer process ends. All mounts vanish with the last process of the container.
See "A job runs in namespaces, with its tree at /opt/ml" in docs/decisions/laptop-cloud.md.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import IO, Any, NoReturn

# From linux/sched.h, sys/mount.h, linux/mount.h, sys/prctl.h and asm-generic/unistd.h
_NEW_MOUNTS, _NEW_HOSTNAME, _NEW_USERS, _NEW_PIDS = 0x00020000, 0x04000000, 0x10000000, 0x20000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT, _BIND = 0x1, 0x2, 0x4, 0x8, 0x20, 0x1000
_RECURSIVE, _PRIVATE, _DETACH = 0x4000, 0x40000, 0x2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_SET_PARENT_DEATH_SIGNAL = 1
# These folders of the machine stand in for those of the base image. All others are missing in the container.
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "nix", "gnu")
_EMPTY = ("home", "media", "mnt", "opt", "root", "run", "srv", "tmp", "var/tmp")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({what})")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = (source.encode(), target.encode(), kind.encode())
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _bind(source: str, target: str, read_only: bool) -> None:
    """Show a file or folder of the machine, with what is mounted below it, at a place of the container."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT))
    _mount(source, target, "", _BIND | _RECURSIVE)
    if read_only:
        _make_read_only(target)


def _make_read_only(target: str) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY)
    number, path = ctypes.c_long(_MOUNT_SETATTR), target.encode()
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    if _libc.syscall(number, ctypes.c_int(_AT_FDCWD), path, ctypes.c_uint(_AT_RECURSIVE), attributes, size):
        # Kernels before 5.12 make one mount read-only, but not those below it.
        _libc.mount(None, path, None, ctypes.c_ulong(_REMOUNT | _BIND | _READ_ONLY), None)


def _layer(target: str) -> None:
    """Let a read-only folder accept changes, which stay in the container and in memory.

    Where the kernel has no overlays for this user, the folder stays read-only.
    """
    layer = f"{target}.layer"
    os.mkdir(layer)
    _mount("tmpfs", layer, "tmpfs", _NO_DEVICES, "mode=0755")
    os.mkdir(f"{layer}/upper")
    os.mkdir(f"{layer}/work")
    with contextlib.suppress(OSError):
        options = f"lowerdir={target},upperdir={layer}/upper,workdir={layer}/work"
        _mount("overlay", target, "overlay", _NO_DEVICES, options)
    # The overlay keeps its own hold on the memory.
    _check(_libc.umount2(layer.encode(), _DETACH), "umount")
    os.rmdir(layer)


def _merge(source: str, new_root: str, place: str) -> None:
    """Show the entries of a folder at a place of the container, beside those that are there already."""
    target = new_root + place
    for name in os.listdir(source):
        entry, shown = f"{source}/{name}", f"{target}/{name}"
        if os.path.isdir(entry) and os.path.isdir(shown):
            _merge(entry, new_root, f"{place}/{name}")
            continue
        if not os.path.lexists(shown) and place:
            _open_up(target, place)
        if os.path.islink(entry):
            os.symlink(os.readlink(entry), shown)
        else:
            _bind(entry, shown, read_only=False)


def _open_up(target: str, place: str) -> None:
    """Replace a read-only folder of the machine by one with the same entries that accepts new ones."""
    if os.access(target, os.W_OK):
        return
    _mount("tmpfs", target, "tmpfs", _NO_SUID | _NO_DEVICES, "mode=0755")
    for name in os.listdir(place):
        if os.path.islink(f"{place}/{name}"):
            os.symlink(os.readlink(f"{place}/{name}"), f"{target}/{name}")
        else:
            _bind(f"{place}/{name}", f"{target}/{name}", read_only=True)


def _fill(new_root: str, container: dict[str, Any]) -> None:
    """Mount everything that the container sees."""
    _mount("tmpfs", new_root, "tmpfs", _NO_SUID | _NO_DEVICES, "mode=0755")
    for name in SYSTEM:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{new_root}/{name}")
        elif os.path.isdir(f"/{name}"):
            _bind(f"/{name}", f"{new_root}/{name}", read_only=True)
    _bind("/dev", f"{new_root}/dev", read_only=False)
    shared_memory = f"{new_root}/dev/shm"  # noqa: S108 - it is the container's own
    if os.path.isdir(shared_memory):
        _mount("tmpfs", shared_memory, "tmpfs", _NO_SUID | _NO_DEVICES, "mode=1777")
    _bind("/sys", f"{new_root}/sys", read_only=True)
    if container["own_pids"]:
        os.mkdir(f"{new_root}/proc")
        _mount("proc", f"{new_root}/proc", "proc", _NO_SUID | _NO_DEVICES | _NO_PROGRAMS)
    else:
        _bind("/proc", f"{new_root}/proc", read_only=False)
    _merge(container["root"], new_root, "")
    for name in _EMPTY:
        os.makedirs(f"{new_root}/{name}", exist_ok=True)
    for name in ("tmp", "var/tmp"):
        os.chmod(f"{new_root}/{name}", 0o1777)  # noqa: S103 - it is the container's own
    for source, place, read_only in container["binds"]:
        parent = os.path.dirname(place)
        if os.path.isdir(new_root + parent) and not os.path.lexists(new_root + place):
            _open_up(new_root + parent, parent)
        _bind(source, new_root + place, read_only)
    if (scratch := container.get("scratch")) is not None:
        _keep(new_root, scratch, container["binds"])
        return
    packages, *aliases = container["packages"]
    if os.path.isdir(new_root + packages):
        _layer(new_root + packages)
        for alias in aliases:
            _bind(new_root + packages, new_root + alias, read_only=False)


def _keep(new_root: str, scratch: int, binds: list[tuple[str, str, bool]]) -> None:
    """Make everything read-only but ``/tmp``, which gets this many MB of its own."""
    _make_read_only(new_root)
    options = f"mode=1777,size={scratch}m"
    _mount("tmpfs", f"{new_root}/tmp", "tmpfs", _NO_SUID | _NO_DEVICES, options)  # noqa: S108 - the container's
    for source, place, _ in binds:
        if place.startswith("/tmp/"):  # noqa: S108 - this machine's Python may lie there, and was hidden just now
            _bind(source, new_root + place, read_only=True)


def _enter(container: dict[str, Any]) -> None:
    """Leave the machine for the container."""
    hostname = container["hostname"].encode()
    _check(_libc.sethostname(hostname, ctypes.c_size_t(len(hostname))), "sethostname")
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)  # Nothing that is mounted here may show outside.
    new_root = container["stage"]
    _fill(new_root, container)
    os.chdir(new_root)
    # The old root lands on top of the new one and is then detached, so nothing of it stays visible.
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.chdir(container["folder"])


def _supervise(child: int, status: IO[str]) -> NoReturn:
    """Hand signals on to process 1 and end as it ends.

    The kernel keeps from process 1 what it does not handle. A signal that comes before the program has set its handler
    would be lost, so it waits for that.

    Args:
        child: Id of process 1.
        status: The file ``status`` of process 1 in ``/proc``.
    """
    waiting: set[int] = set()
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(code)
            os._exit(128 - code if code < 0 else code)  # A container that signal n killed has exit code 128 + n.
        for number in [number for number in waiting if _handles(status, number)]:
            os.kill(child, number)
            waiting.remove(number)
        arrived = signal.sigtimedwait(signals, 0.05 if waiting else 3600)
        if arrived and arrived.si_signo != signal.SIGCHLD:
            waiting.add(arrived.si_signo)


def _handles(status: IO[str], number: int) -> bool:
    status.seek(0)
    caught = next(line for line in status if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def main() -> NoReturn:
    """Start a container; errors go to the pipe whose number is the first argument, which a started program closes."""
    report, container = int(sys.argv[1]), json.loads(sys.argv[2])
    os.umask(0o022)  # An image's server gives up root, and must then still read what is made here.
    try:
        user, group = os.geteuid(), os.getegid()
        own_pids = _NEW_PIDS if container["own_pids"] else 0
        _check(_libc.unshare(_NEW_MOUNTS | _NEW_HOSTNAME | own_pids | (_NEW_USERS if user else 0)), "unshare")
        if user:
            # The user stays who they are, but for these steps has the rights of root over the namespaces.
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        if own_pids:
            reader, writer = os.pipe()
            if child := os.fork():
                os.close(report)
                # The two share their mounts, so this /proc is gone as soon as the container's files are in place.
                status = open(f"/proc/{child}/status")  # noqa: SIM115 - it stays open to the end
                os.close(writer)
                _supervise(child, status)
            os.close(writer)
            os.read(reader, 1)  # It returns when the outer process has opened that file.
            os.close(reader)
            # Process 1 ends with the outer process.
            _check(_libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
            os.setsid()
        _enter(container)
        os.set_inheritable(report, False)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the program would inherit that.
        os.execvp(container["command"][0], container["command"])
    except OSError as error:
        os.write(report, f"{error.errno or 0} {error.strerror}".encode())
    os._exit(126)


if __name__ == "__main__":
    main()
