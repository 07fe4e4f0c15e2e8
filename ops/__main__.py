"""``python -m ops``: what the launcher runs."""

import gc
import io
import os
import sys
from pathlib import Path


def run() -> int:
    """Run the command line. Ctrl-C is heard from the first import on."""
    # By default the collector looks through whatever imports make, dozens of times; there is next to nothing to find.
    gc.set_threshold(100_000, 20, 20)
    # A closed stream, or one that can't write every letter, is no reason to fail after the work is done.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from ops import cli

        return cli.main(sys.argv[1:])
    except KeyboardInterrupt:
        print("gaia: interrupted; run the command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    code = run()
    # The interpreter would take a tenth of a second to take itself down, with nothing left to do.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
