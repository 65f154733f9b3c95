"""What README and docs tell holds: commands run, units verify, links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


# -- unattended -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit of docs/unattended.md, with this clone in the place of /opt/scalp."""
    (text,) = blocks(DOCS / "unattended.md", "ini")
    path = tmp_path / "scalp.service"
    path.write_text(text.replace("/opt/scalp/.venv/bin/python", sys.executable).replace("/opt/scalp", str(ROOT)))
    return path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit_and_finds_it_safe(unit: Path) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "scalp.service" in line]) == (0, [])
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    scored = subprocess.run(command, capture_output=True, text=True)
    (score,) = re.findall(r"Overall exposure level for scalp.service: ([\d.]+) (\w+)", scored.stdout)
    assert float(score[0]) < 2 and score[1] == "OK"


def test_the_image_copies_what_is_there() -> None:
    (text,) = blocks(DOCS / "unattended.md", "dockerfile")
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY")]
    assert copied == [["Pipfile", "Pipfile.lock"], ["main.py"], ["scalp"]]
    assert all((ROOT / name).exists() for names in copied for name in names)
    orders = {line.split()[0] for line in text.splitlines()}
    assert orders == {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "HEALTHCHECK", "ENTRYPOINT"}
