"""Starts one program of the cloud: ``python process_start.py PLAN PROGRAM ARGUMENT…``, the plan as JSON.

It writes itself into the plan's ``record`` first, so that the keeper can end it however the cloud ends, and leads a
session of its own, so that Ctrl-C is for the cloud to answer. With ``root``, that folder becomes the root of a mount
namespace of its own, with ``mounts`` in it (path as the program sees it → path here) and nothing else of this machine.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import time

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
WRITABLE = frozenset({"/dev", "/proc"})
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def enter(root: str, mounts: "dict[str, str]") -> None:
    """Go into a mount namespace of our own in which ``root`` is the root, with these folders and files in it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int, what: str) -> None:
        if result != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{what}: {os.strerror(code)}")

    def mount(source: str, target: str, kind: "str | None", flags: int) -> None:
        done = libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None)
        checked(done, f"mount {target}")

    def place(inside: str, source: str) -> None:
        target = f"{root}{inside}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if os.path.islink(source):  # /bin and /lib are links into /usr
            os.symlink(os.readlink(source), target)
            return
        if os.path.isdir(source):
            os.makedirs(target, mode=0o755, exist_ok=True)
        else:
            open(target, "w").close()
        mount(source, target, None, MS_BIND | MS_REC)
        if inside not in WRITABLE:
            # Nothing that a container does reaches this machine, nor a mount point that is made for a later one.
            with contextlib.suppress(OSError):
                mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)

    uid, gid = os.geteuid(), os.getegid()
    checked(libc.unshare(CLONE_NEWNS if uid == 0 else CLONE_NEWNS | CLONE_NEWUSER), "unshare")
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", 0)
    for inside, outside in mounts.items():
        place(inside, outside)
    if not os.path.exists(f"{root}/tmp"):
        os.mkdir(f"{root}/tmp")
        os.chmod(f"{root}/tmp", 0o1777)
    os.chmod(root, 0o755)
    os.chroot(root)


def main(arguments: "list[str]") -> None:
    plan, command = json.loads(arguments[0]), arguments[1:]
    os.umask(0o022)
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    aside = f"{plan['record']}.new"
    with open(aside, "w") as file:
        json.dump({"pid": os.getpid(), "at": time.time()}, file)
    os.rename(aside, plan["record"])
    if plan.get("root"):
        enter(plan["root"], plan["mounts"])
    os.chdir(plan["folder"])
    if plan.get("uid") is not None:
        os.setgroups([])
        os.setgid(plan["gid"])
        os.setuid(plan["uid"])
    os.execvpe(command[0], command, os.environ)


if __name__ == "__main__":
    main(sys.argv[1:])
