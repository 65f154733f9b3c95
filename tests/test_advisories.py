"""The table of known advisories speaks of the versions that are locked."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_of_advisories_is_of_the_locked_versions() -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    locked = {
        name.partition("[")[0]: package["version"].removeprefix("==")
        for section in ("develop", "default")
        for name, package in lock[section].items()
    }
    rows = [line.split("|") for line in (ROOT / "docs" / "advisories.md").read_text().splitlines() if line[:2] == "| "]
    told = {(row[1].strip(), row[2].strip()) for row in rows[2:]}
    assert {name for name, _ in told} == {"urllib3", "msgpack", "pyyaml", "websockets"}
    assert [(name, version) for name, version in told if locked[name] != version] == []
