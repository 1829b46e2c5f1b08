"""Files that hold secrets: readable by their owner alone, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from kit.errors import StartupError
from kit.folders import make_private, why


def write_secret(path: Path, text: str) -> None:
    """Writes with mode 600 under another name first: a crash leaves the old file or the new one, never half of one.

    A folder that is missing is made for its owner alone. Raises `StartupError` where the file cannot be written.
    """
    try:
        _write(path, text, os.replace)
    except OSError as error:
        raise _not_written(path, error) from error


def create_secret(path: Path, text: str) -> None:
    """The same where there is no such file yet; one that is there, or is made at this moment by another process, stays."""
    try:
        _write(path, text, _link)
    except OSError as error:
        raise _not_written(path, error) from error


def _link(fresh: Path, path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def _not_written(path: Path, error: OSError) -> StartupError:
    zh, en = why(error)
    return StartupError(f"无法写入密钥文件 {path}（{zh}）", f"cannot write key file {path} ({en})")


def _write(path: Path, text: str, put: Callable[[Path, Path], None]) -> None:
    make_private(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # what a crashed process with our number may have left
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    put(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_secret(path: Path) -> str:
    """Raises `StartupError` when everybody on the machine could have read or changed it, and when it cannot be read."""
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise StartupError(
                f"密钥文件 {path} 对所有用户开放（权限 {stat.S_IMODE(mode):o}），请执行 chmod 600 {path}；如可能已泄露，请更换密钥",
                f"key file {path} is open to every user (mode {stat.S_IMODE(mode):o}): run chmod 600 {path}, "
                "and change the keys if they may have been read",
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        zh, en = why(error) if isinstance(error, OSError) else ("不是 UTF-8 文本", "it is no UTF-8")
        raise StartupError(f"无法读取密钥文件 {path}（{zh}）", f"cannot read key file {path} ({en})") from error
