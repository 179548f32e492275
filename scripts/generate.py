"""Generate the Python code of the contract: messages, gRPC stubs and their types.

    .venv/bin/python scripts/generate.py            write the packages below
    .venv/bin/python scripts/generate.py --check    write nothing; fail with a diff if they are out of date

buf resolves and compiles the protos, protoc turns the resulting descriptor set into code: `buf generate`
cannot run the gRPC plugin, which is built into grpcio-tools and is no program of its own. Proto paths mirror
import paths (`tocsin/v1/x.proto` is `tocsin.v1.x_pb2`), so the output is used as it comes. The packages
belong to this script as a whole: a file in them that it would not write is stale, and removed.
"""

import argparse
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "clients" / "python"

# The packages to generate, and what stands in each beside the code. buf.validate has to be among them: the
# options in our descriptors refer to it, and the protovalidate wheel has no `buf` package, only a private
# copy for another runtime. `buf` gets no __init__.py: it is a namespace that other distributions share.
PACKAGES: dict[Path, dict[str, str]] = {
    Path("tocsin/v1"): {"__init__.py": '"""The contract, version 1: generated from proto/tocsin/v1."""\n'},
    Path("buf/validate"): {"py.typed": ""},
}

# Beside the interpreter, not on PATH: no activated environment is assumed.
TOOLS = Path(sys.executable).parent


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--check", action="store_true", help="compare instead of writing")
    check_only = arguments.parse_args().check

    with tempfile.TemporaryDirectory(prefix="tocsin-generate-") as scratch:
        fresh = Path(scratch) / "python"
        generate(fresh, descriptors=Path(scratch) / "contract.binpb")
        if check_only:
            return report_difference(fresh)
        for package in PACKAGES:
            mirror(fresh / package, OUTPUT / package)
    return 0


def generate(target: Path, descriptors: Path) -> None:
    """Write all PACKAGES below `target`, going through a descriptor set at `descriptors`."""
    run(TOOLS / "buf", "build", "--as-file-descriptor-set", "--output", descriptors)
    contract = FileDescriptorSet.FromString(descriptors.read_bytes())
    ours = [file for file in contract.file if Path(file.name).parent in PACKAGES]

    for package, extra_files in PACKAGES.items():
        (target / package).mkdir(parents=True)
        for name, content in extra_files.items():
            (target / package / name).write_text(content, encoding="utf-8")

    protoc = (sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}")
    run(
        *protoc,
        f"--plugin=protoc-gen-mypy={TOOLS / 'protoc-gen-mypy'}",
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        *(file.name for file in ours),
    )
    # Only for files with services: for others the plugin writes nothing but a version check. The types are
    # those of grpc.aio, which both the server and the client use.
    run(
        *protoc,
        f"--plugin=protoc-gen-mypy_grpc={TOOLS / 'protoc-gen-mypy_grpc'}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet,only_async:{target}",
        *(file.name for file in ours if file.service),
    )


def mirror(source: Path, target: Path) -> None:
    """Make `target` hold what `source` holds, and leave alone what it holds already."""
    for name in files_in(target) - files_in(source):
        (target / name).unlink()
    for name in files_in(source):
        content = (source / name).read_bytes()
        if not (target / name).exists() or (target / name).read_bytes() != content:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)


def report_difference(fresh: Path) -> int:
    """Print how the committed packages differ from `fresh`; 0 if they do not."""
    differences = [
        line
        for package in PACKAGES
        for name in sorted(files_in(fresh / package) | files_in(OUTPUT / package))
        for line in difflib.unified_diff(
            read_lines(OUTPUT / package / name),
            read_lines(fresh / package / name),
            fromfile=f"committed/{package / name}",
            tofile=f"generated/{package / name}",
            n=1,
        )
    ]
    if not differences:
        return 0
    sys.stdout.writelines(differences)
    print(
        "The generated code does not match the protos: run `make generate` and commit the result.",
        file=sys.stderr,
    )
    return 1


def files_in(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def run(*command: str | Path) -> None:
    """Run a tool from the repository's root; its own message is the error, so no traceback on top of it."""
    finished = subprocess.run(command, cwd=ROOT, check=False)
    if finished.returncode != 0:
        sys.exit(finished.returncode)


if __name__ == "__main__":
    sys.exit(main())
