"""Makes gen/ from proto/: `python proto/generate.py`, or `--check` to fail when what is committed differs.

gen/hetao, gen/buf   messages, gRPC stubs and their type hints
gen/descriptors.binpb   every file with its comments, for the gateway's OpenAPI document and the reference
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "gen"


def generate(target: Path) -> None:
    own = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    includes = [f"-I{ROOT / 'proto'}", f"-I{ROOT / 'third_party'}", f"-I{files('grpc_tools') / '_proto'}"]
    plugin = f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}"
    grpc_plugin = f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).parent / 'protoc-gen-mypy_grpc'}"
    outputs = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    grpc_outputs = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    run = ["protoc", *includes, plugin, grpc_plugin]
    with_services = [name for name in own if "\nservice " in (ROOT / "proto" / name).read_text()]
    calls = [
        [*run, *outputs, *own, "buf/validate/validate.proto"],
        [*run, *grpc_outputs, *with_services],
        [
            *run,
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={target / 'descriptors.binpb'}",
            *own,
        ],
    ]
    for call in calls:
        if protoc.main(call) != 0:
            raise SystemExit("protoc failed; its message stands above")
    for folder in {p.parent for p in target.rglob("*_pb2*.py*")}:
        for part in [folder, *folder.parents]:
            if part == target:
                break
            (part / "__init__.py").touch()


def drift(left: Path, right: Path) -> list[str]:
    """Paths that differ or stand on one side only."""
    names = {
        p.relative_to(base)
        for base in (left, right)
        for p in base.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    return sorted(
        str(n)
        for n in names
        if not ((left / n).exists() and (right / n).exists() and filecmp.cmp(left / n, right / n, False))
    )


def main() -> None:
    subprocess.run([Path(sys.executable).parent / "buf", "lint"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        generate(made)
        if "--check" in sys.argv:
            if changed := drift(GENERATED, made):
                raise SystemExit("gen/ does not follow proto/ (run `make proto`): " + ", ".join(changed))
            return
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(made, GENERATED)


if __name__ == "__main__":
    main()
