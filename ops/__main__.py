"""``python -m ops``: what the launcher runs."""

import sys

from ops import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
