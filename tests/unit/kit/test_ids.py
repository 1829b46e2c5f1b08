"""UUIDv7 as RFC 9562 wants them."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

from kit.ids import uuid7


def test_version_variant_and_time() -> None:
    made = uuid7(1_645_557_742_000)  # the RFC's own example, appendix A.6
    assert str(made).startswith("017f22e2-79b0-7")
    assert (made.version, made.variant) == (7, RFC_4122)


def test_the_present_moment_by_default() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7().int >> 80
    assert before <= made <= time.time_ns() // 1_000_000


def test_every_one_is_another() -> None:
    assert len({uuid7(0) for _ in range(20_000)}) == 20_000


def test_all_the_random_bits_vary() -> None:
    fixed_to_one = fixed_to_zero = (1 << 128) - 1
    for _ in range(200):
        made = uuid7(0).int
        fixed_to_one &= made
        fixed_to_zero &= ~made
    assert fixed_to_one == 0x7 << 76 | 0b10 << 62
    assert fixed_to_zero == (1 << 128) - (1 << 80) | 0x8 << 76 | 0b01 << 62


def test_later_ones_sort_behind_earlier_ones() -> None:
    moments = [0, 1, 1_700_000_000_000, 1_700_000_000_001, (1 << 48) - 1]
    made = [uuid7(moment) for moment in moments]
    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)


def test_threads_get_others() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = [one for many in threads.map(lambda _: [uuid7(0) for _ in range(5_000)], range(4)) for one in many]
    assert len(set(made)) == 20_000


def test_parent_and_forked_child_get_others() -> None:
    # In a process without threads; each line by one call, or the two might be mixed.
    program = "import os; from kit.ids import uuid7; uuid7(); os.fork(); os.write(1, f'{uuid7(0)}\\n'.encode())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert len(set(said)) == 2
