"""A disk that is full at every stage of a run, and folders that cannot be written: one line, and nothing lost.

python -m reliability.full_disk        (as root, on Linux: it mounts small file systems of its own)

A small run writes onto a disk of a megabyte, then onto larger ones, until there is room. Each time that there is
not it has to end in one line that names the disk's fault, and to go on from there with more room. Then a disk that is
read-only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reliability.kills import SMALL, expect_whole, start
from wearsynth.ledger import SETTING
from wearsynth.parameters import ROOT

SIZES = (1, 30, 52, 54, 57, 60, 61, 62, 63, 64, 66, 120)  # MB; three recordings take 51, all else some 13


def main() -> int:
    """Runs it; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SETTING] = str(Path(folder) / "ledger.jsonl")
        disk = Path(folder) / "disk"
        disk.mkdir()
        mount("-t", "tmpfs", "-o", f"size={SIZES[0]}m", "tmpfs", str(disk))
        try:
            full = [attempt(disk, size) for size in SIZES]
            assert full[0] and not full[-1], f"full at {SIZES}: {full}"
            mount("-o", "remount,ro", str(disk))
            assert "Read-only" in run(disk / "another"), "a read-only disk"
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    print(f"{sum(full)} of {len(SIZES)} disks were full, one was read-only; no violation")
    return 0


def attempt(disk: Path, size: int) -> bool:
    """Tries on a disk of so many MB; returns whether it was full."""
    mount("-o", f"remount,size={size}m", str(disk))
    said = run(disk / "run")
    print(f"{size:3} MB: {said or 'done'}", flush=True)
    expect_whole(disk)
    assert not said or "No space left" in said, "another fault"
    return bool(said)


def run(out: Path) -> str:
    """Runs; returns the last line of what it said if it failed."""
    given = [part for name, value in SMALL.items() for part in ("-p", name, value)]
    process = start([sys.executable, str(ROOT / "run.py"), "-p", "simulated_people", "3", "--out", str(out), *given])
    _, said = process.communicate()
    assert "Traceback" not in said, said
    return said.strip().rpartition("\n")[2] if process.returncode else ""


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
