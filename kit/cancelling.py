"""Cancellations that libraries lose."""

from __future__ import annotations

import asyncio


def obey() -> None:
    """Ends the task if it was told to end while a library was listened to: a cancellation that comes together with an answer or an error is lost
    by some. Called after such an answer, and before what was caught is passed over."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
