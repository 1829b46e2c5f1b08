"""`python -m engines fetch` brings what this machine lacks, once; `python -m engines split` runs the whole platform as separate processes."""

from __future__ import annotations

import sys

from engines import kafka, oidc, redis
from kit.errors import StartupError


def _said(zh: str, en: str) -> None:
    print(f"{zh} · {en}", file=sys.stderr, flush=True)


def main(words: list[str]) -> None:
    try:
        match words:
            case ["fetch"]:
                redis.fetch(_said)
                kafka.fetch(_said)
                if oidc.missing() is None:  # for tests alone
                    oidc.fetch(_said)
            case ["split"]:
                from engines.supervisor import Supervisor
                from kit.config import load

                Supervisor(load()).run()
            case _:
                sys.exit("python -m engines fetch | split")
    except StartupError as error:
        sys.exit(f"错误：{error.zh}\nerror: {error.en}")


if __name__ == "__main__":
    main(sys.argv[1:])
