"""C libraries that are preloaded into a server to make its disk misbehave; compiled by the tests that use them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "faults"


def compile_shim(name: str, into: Path) -> Path:
    """Compile tests/faults/<name>.c to a shared library in `into`, and return its path."""
    library = into / f"{name}.so"
    options = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
    command = (*compiler(), *options, "-o", str(library), str(FOLDER / f"{name}.c"), "-ldl", "-lpthread")
    compiled = subprocess.run(command, check=False, capture_output=True, text=True)
    if compiled.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{compiled.stderr}")
    return library


def compiler() -> Sequence[str]:
    """The machine's C compiler, or the one that the dev requirements bring."""
    for name in ("cc", "gcc"):
        if found := shutil.which(name):
            return (found,)
    return (sys.executable, "-m", "ziglang", "cc")


def preloading(*libraries: Path) -> Mapping[str, str]:
    """The environment that preloads them, after what is preloaded already."""
    already = os.environ.get("LD_PRELOAD", "").split()
    return {"LD_PRELOAD": " ".join([*already, *map(str, libraries)])}
