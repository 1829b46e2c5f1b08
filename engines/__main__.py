"""`python -m engines fetch` brings what this machine lacks, once."""

from __future__ import annotations

import sys

from engines import kafka, redis
from kit.errors import StartupError


def _said(zh: str, en: str) -> None:
    print(f"{zh} · {en}", file=sys.stderr, flush=True)


def main(words: list[str]) -> None:
    if words != ["fetch"]:
        sys.exit("python -m engines fetch")
    try:
        redis.fetch(_said)
        kafka.fetch(_said)
    except StartupError as error:
        sys.exit(f"错误：{error.zh}\nerror: {error.en}")


if __name__ == "__main__":
    main(sys.argv[1:])
