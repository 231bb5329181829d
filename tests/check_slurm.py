"""A sweep on a real cluster: SLURM with one node, this machine. Run by `make test-slurm`; takes root and some minutes.

SLURM and munge come from the distribution's packages, and are installed if they are not there.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import run

CONFIG = Path("/etc/slurm/slurm.conf")  # where jobs look for it, too, which inherit no variables of SLURM
TINY = {"epsilon": "inf", "folds": "S2,S3"} | {name: str(value) for name, value in run.PRESETS["smoke"].items()}
# A cluster without accounting has no sacct; and nobody wants to wait for the first look at a job.
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
OPTIONS += ["--seconds-between-status-checks", "2", "--latency-wait", "5"]


def command(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def install():
    """Installs SLURM and munge, or says why this machine cannot have them."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("SLURM: only root can start a cluster on this machine")
    if shutil.which("slurmctld") and shutil.which("munged"):
        return
    if not shutil.which("apt-get"):
        pytest.skip("SLURM: not installed, and there is no apt-get to install it with")
    try:
        subprocess.run(["apt-get", "update"], capture_output=True)
        command(
            "apt-get", "install", "--yes", "slurm-wlm", "munge", env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"SLURM: apt-get cannot install it: {error.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster of one node with two cores."""
    install()
    if CONFIG.exists():
        pytest.skip(f"SLURM: {CONFIG} is there already; this machine seems to belong to a cluster")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    folder.chmod(0o755)
    munge = folder / "munge"
    munge.mkdir(mode=0o700)
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o600)
    files = [f"--{what}={munge / what}" for what in ("socket", "log-file", "pid-file", "seed-file")]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge / "socket"}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
SlurmctldLogFile={folder / "slurmctld.log"}
SlurmdLogFile={folder / "slurmd.log"}
ReturnToService=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=main Nodes={host} Default=YES State=UP
"""
    )
    try:
        command("munged", "--force", f"--key-file={munge / 'key'}", *files)
        # Their output would keep a pipe open for as long as they live.
        for daemon in (["slurmctld"], ["slurmd", "-N", host]):
            subprocess.run(daemon, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: "idle" in command("sinfo", "--noheader", "--format=%T"), "an idle node")
        yield folder
    finally:
        subprocess.run(["scontrol", "shutdown"], capture_output=True)
        subprocess.run(["munged", "--stop", f"--socket={munge / 'socket'}"], capture_output=True)
        CONFIG.unlink()


def wait_for(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no sign of {what} in {seconds} s"
        time.sleep(0.5)


def start(grid, out, *options):
    words = [sys.executable, "-m", "workflow.sweep", str(grid), "--recordings", "simulated", "--out", str(out)]
    with open(out.with_suffix(".log"), "w") as log:
        return subprocess.Popen([*words, *options], cwd=run.ROOT, stdout=log, stderr=subprocess.STDOUT)


def finish(process, log):
    assert process.wait(timeout=1200) == 0, log.read_text()


def running_folds():
    """Numbers of SLURM's jobs that run a fold now."""
    lines = command("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").splitlines()
    return [number for number, comment in (line.split(maxsplit=1) for line in lines) if "rule_fold" in comment]


@pytest.fixture(scope="module")
def swept(cluster):
    """The folders of a sweep through SLURM, in which a job was killed, and of the same one on this machine."""
    parameters = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in TINY.items())
    grid = cluster / "tiny.yaml"
    grid.write_text(f"grid:\n  - seed: [0, 1]\nparameters:\n{parameters}")
    process = start(grid, cluster / "slurm", "--profile", "slurm", *OPTIONS)
    wait_for(running_folds, "a running fold", 300)
    time.sleep(10)  # so that it is well under way
    command("scancel", "--signal=KILL", "--full", running_folds()[0])
    finish(process, cluster / "slurm.log")
    finish(start(grid, cluster / "local"), cluster / "local.log")
    return cluster / "slurm", cluster / "local"


def same(path, swept):
    return (swept[0] / path).read_bytes() == (swept[1] / path).read_bytes()


def test_a_killed_job_is_tried_again_and_the_table_is_complete(swept):
    said = swept[0].with_suffix(".log").read_text()
    assert said.count("Error in rule fold") == 1 and said.count("Trying to restart") == 1
    table = pd.read_csv(swept[0] / "table.csv")
    assert set(table["protocol"]) == {"trtr", "tstr", "augmented", "trts", "tstr_leaky"}
    assert set(table["seeds"]) == {1, 2}  # the guess that looks at no signal has but one


def test_slurm_and_this_machine_find_the_same_to_the_bit(swept):
    assert same("table.csv", swept)
    for run_name, fold in itertools.product(("seed=0", "seed=1"), ("S2", "S3")):
        assert same(f"folds/{run_name}/{fold}/data/detectors/predictions.csv", swept)


def test_removed_results_are_made_again_in_an_array(swept):
    for run_name in ("seed=0", "seed=1"):
        (swept[0] / "folds" / run_name / "S3" / "metrics.json").unlink()
    options = ["--profile", "slurm", "--slurm-array-jobs", "fold,run", *OPTIONS]
    finish(start(swept[0].parent / "tiny.yaml", swept[0], *options), swept[0].with_suffix(".log"))
    said = swept[0].with_suffix(".log").read_text()
    # Two folds, their runs, the table, and the rule that names them all.
    assert said.count("Submitted array job") == 2 and "6 of 6 steps" in said
    assert same("table.csv", swept)
