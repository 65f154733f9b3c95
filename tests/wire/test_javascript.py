"""A whole trade with the official JavaScript SDK, versions 3 and 4, against the exchange.

They come by npm into a folder of their own; where node, npm or the registry is missing, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.wire.exchange_process import exchange

STORIES = Path(__file__).parent / "javascript"
NEEDS_NODE = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stories and the SDKs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NEEDS_NODE:
        pytest.skip(f"node {version} is too old for the SDK: it needs {NEEDS_NODE}")
    folder = shutil.copytree(STORIES, tmp_path_factory.mktemp("sdk") / "javascript")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock",
               "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]  # fmt: skip
    try:
        npm = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install the SDK in time")
    if npm.returncode:
        said = [line for line in npm.stderr.splitlines() if "error" in line.lower()]
        pytest.skip(f"npm could not install the SDK: {said[0] if said else npm.returncode}")
    return folder


def told(folder: Path, story: str) -> dict[str, Any]:
    with exchange("--speed", "60", "--session", "2026-11-27", "--from", "10:00", "AAPL", "TSLA") as env:
        node = subprocess.run(
            ["node", story], cwd=folder, env={"PATH": os.environ["PATH"], **env},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert node.returncode == 0, node.stderr
    seen = json.loads(node.stdout.splitlines()[-1])
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("story", ["v3.js", "v4.js"])
def test_a_whole_trade(folder: Path, story: str) -> None:
    seen = told(folder, story)
    assert (seen["account"], seen["is_open"]) == ("ACTIVE", True)
    bar = seen["bar"]
    assert bar["l"] <= min(bar["o"], bar["c"]) <= max(bar["o"], bar["c"]) <= bar["h"]
    assert bar["t"].startswith("2026-11-27T15:")
    assert bar["t"].endswith(":00.000Z")
    assert bar["v"] > 0
    assert seen["trade"]["symbol"] == "AAPL"
    assert seen["bought"] == {"id": seen["buy"], "filled": "5", "position": "5"}
    assert seen["positions"] == [["AAPL", "5"]]
    assert seen["oco"][1:] == ["held", True, "canceled"]
    assert seen["open"] == [seen["sell"]]
    assert seen["canceled"] == seen["sell"]
    assert seen["refusal"] == {"status": 422, "message": 'asset "NOPE" not found'}
    assert seen["sold"] == {"position": "0"}
    assert seen["left"] == 0
    assert seen["history"] == 10
