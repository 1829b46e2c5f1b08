"""Makes .venv and keeps it as the lock file says: `python3 bootstrap.py requirements.lock`. Does nothing when nothing changed.

It runs before anything is installed and on whatever Python is there, so it uses no syntax newer than Python 3.6.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "installed.json")
OLDEST = (3, 11)

#: Requirements of the tests include those of the platform.
LARGER = {"requirements.lock": "requirements-dev.lock"}


def main(lock):
    if sys.version_info < OLDEST:
        start_newer(lock)
    stamp = read_stamp()
    wanted = {name: digest(name) for name in (lock, LARGER.get(lock, lock))}
    project = digest("pyproject.toml")
    if stamp is None:
        if not works():
            make_venv()
        stamp = {"locks": {}, "project": ""}
    installed = any(stamp["locks"].get(name) == wanted[name] for name in wanted)
    if installed and stamp["project"] == project:
        return
    if not installed:
        install(lock)
        stamp["locks"][lock] = wanted[lock]
    pip("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--editable", ".")
    stamp.update(project=project, root=ROOT)
    with open(STAMP, "w") as file:
        json.dump(stamp, file)


def start_newer(lock):
    """Goes on with a newer Python of this machine, or says that there is none."""
    for minor in range(19, OLDEST[1] - 1, -1):
        newer = shutil.which("python3.%d" % minor)
        if newer:
            os.execv(newer, [newer, os.path.abspath(__file__), lock])
    found = "%d.%d" % sys.version_info[:2]
    fail(
        "需要 Python 3.11 或更高版本，本机为 %s（可用 make PYTHON=/path/to/python3.12 指定）" % found,
        "Python 3.11 or later is needed, here is %s (make PYTHON=/path/to/python3.12 names another)" % found,
    )


def read_stamp():
    """What was installed, or None if nothing was, or the environment was moved or lost its Python."""
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
        return stamp if stamp["root"] == ROOT and works() else None
    except (OSError, ValueError, KeyError):
        return None


def works():
    """Whether .venv has a Python that runs and is new enough."""
    check = "import sys; sys.exit(sys.version_info < (%d, %d))" % OLDEST
    try:
        return subprocess.call([PYTHON, "-c", check]) == 0
    except OSError:
        return False


def make_venv():
    say("创建 .venv", "making .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.Popen([sys.executable, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = made.communicate()[0].decode("utf-8", "replace").strip()
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        if "ensurepip" in output or "No module named venv" in output:
            package = "python%d.%d-venv" % sys.version_info[:2]
            fail(
                "此 Python 缺少 venv 模块，请先安装（Debian/Ubuntu：apt install %s）" % package,
                "this Python has no venv module: install it (Debian/Ubuntu: apt install %s)" % package,
            )
        last = (output.splitlines() or ["?"])[-1]
        fail("无法创建 .venv：%s" % last, "cannot make .venv: %s" % last)


def install(lock):
    """Installs exactly the files whose digests are in the lock, and tells how far it is."""
    with open(os.path.join(ROOT, lock)) as file:
        total = len(re.findall(r"^[\w.\-]+==", file.read(), re.MULTILINE))
    say("安装 %s（约 %d 个软件包）" % (lock, total), "installing %s (about %d packages)" % (lock, total))
    pip("install", "--require-hashes", "--only-binary=:all:", "--requirement", lock, total=total)


def pip(*arguments, **how):
    total = how.get("total", 0)
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input"] + list(arguments)
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines, seen = [], 0
    for raw in running.stdout:
        lines.append(raw.decode("utf-8", "replace").rstrip())
        if total and sys.stdout.isatty() and lines[-1].startswith(("Collecting ", "Requirement already")):
            seen += 1
            sys.stdout.write("\r  %d/%d  %-60s" % (seen, total, lines[-1].split(" ;")[0][:60]))
            sys.stdout.flush()
    if total and sys.stdout.isatty():
        sys.stdout.write("\r%78s\r" % "")
    if running.wait():
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["?"]
        fail("安装失败：%s" % errors[-1], "installing failed: %s" % errors[-1])


def digest(name):
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def say(zh, en):
    write(sys.stdout, "%s · %s\n" % (zh, en))


def fail(zh, en):
    write(sys.stderr, "错误：%s\nerror: %s\n" % (zh, en))
    sys.exit(1)


def write(stream, text):
    """In UTF-8 whatever the locale."""
    stream.flush()
    stream.buffer.write(text.encode("utf-8"))
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1])
