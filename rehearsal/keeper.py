"""Waits for the end of a cloud, then ends what it left: ``python -m rehearsal.keeper FOLDER``, the cloud on stdin."""

import shutil
import sys
from pathlib import Path


def main(folder: Path) -> None:
    # The pipe ends when the last process that holds it does, and only the cloud holds it.
    while sys.stdin.buffer.read(4096):
        pass
    if not folder.exists():
        return
    from rehearsal.processes import end_recorded

    end_recorded(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
