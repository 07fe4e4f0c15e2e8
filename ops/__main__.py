"""``python -m ops``: what the launcher runs."""

import sys


def run() -> int:
    """Run the command line. Ctrl-C is heard from the first import on."""
    try:
        from ops import cli

        return cli.main(sys.argv[1:])
    except KeyboardInterrupt:
        print("gaia: interrupted; run the command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
