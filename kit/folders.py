"""The folders that the platform makes: who may walk into them, and one clear line where one cannot be made."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from kit.errors import StartupError

#: What the operating system says most often, in Chinese.
_SAID: Final = {
    errno.EACCES: "没有权限",
    errno.EPERM: "不允许该操作",
    errno.ENOENT: "路径不存在",
    errno.ENOTDIR: "路径中有一部分不是目录",
    errno.EEXIST: "已有同名文件",
    errno.EROFS: "文件系统只读",
    errno.ENOSPC: "磁盘空间不足",
    errno.EDQUOT: "磁盘配额已满",
    errno.ENAMETOOLONG: "路径过长",
    errno.EADDRINUSE: "端口已被占用",
    errno.EADDRNOTAVAIL: "本机没有该地址",
}


def why(error: OSError) -> tuple[str, str]:
    """(Chinese, English) of what the operating system refused."""
    en = error.strerror or str(error)
    return _SAID.get(error.errno or 0, f"系统错误 {error.errno}"), en


def make_data_dir(folder: Path) -> None:
    """The data folder, with mode 711 if it is made: PostgreSQL's user walks through to its own part and sees nothing else.

    Raises `StartupError` naming the setting; the OSError itself where the disk is full.
    """
    try:
        _make(folder, 0o711, above=None)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        zh, en = why(error)
        raise StartupError(
            f"无法建立数据目录 {folder}（{zh}），请用 HETAO_DATA_DIR 另选目录",
            f"the data folder {folder} cannot be made ({en}): choose another HETAO_DATA_DIR",
        ) from error


def make_private(folder: Path, *, above: int = 0o711) -> None:
    """A folder for its owner alone (mode 700). `above`: mode of the folders over it that are missing. One that is there stays as it is."""
    _make(folder, 0o700, above=above)


def close(folder: Path) -> None:
    """Takes a folder with all that is in it from everybody but its owner, if it stood open. One that is not ours stays as it is."""
    if not folder.is_dir() or not folder.stat().st_mode & 0o077 or folder.stat().st_uid != os.geteuid():
        return
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    folder.chmod(0o700)  # last: it says that the rest is done


def _make(folder: Path, mode: int, *, above: int | None) -> None:
    if folder.is_dir():
        return
    missing = [one for one in folder.parents if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        if above is not None:
            one.chmod(above)
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)  # whatever the umask says
