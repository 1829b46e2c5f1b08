"""The command `hetao`."""

from __future__ import annotations

import sys

from kit.errors import StartupError
from services.cli import cli, complain


def main() -> None:
    """What a person can mend is one line in each language and exit status 1; wrong usage is 2."""
    try:
        cli(prog_name="hetao")
    except StartupError as error:
        complain(error.zh, error.en)
        sys.exit(1)


if __name__ == "__main__":
    main()
