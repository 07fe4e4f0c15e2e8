"""Runs one program as another user: ``python as_user.py UID GID PROGRAM ARGUMENT…``.

A process of its own because the provider process must not fork: it serves gRPC, whose fork handlers crash the child
(seen with grpcio 1.85). ``subprocess`` forks when it is to change the user and spawns by vfork when it isn't.
"""

import os
import sys

if __name__ == "__main__":
    uid, gid, *command = sys.argv[1:]
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.execv(command[0], command)
