"""Small hand-made tables and windows; and a browser."""

import os
import shutil
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported
if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side take all cores; more processes would only start slowly
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

import numpy as np
import pandas as pd
import pytest

from wearsynth import simulation
from wearsynth.codecs import DescriptorCodec
from wearsynth.provenance import Origin
from wearsynth.windows import EXTENDED, Windows

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LONGEST = ("test_sweep.py", "test_run.py")  # they run whole chains, and start first: last, they would run alone
LABELS = {"baseline": 0, "amusement": 0, "stress": 1}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="session")
def ledger(tmp_path_factory):
    """A ledger of the tests' own, for whatever they start: the user's knows real people."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    os.environ["WEARSYNTH_LEDGER"] = str(path)
    return path


@pytest.fixture(scope="session")
def origin():
    """What some file was made from."""
    return Origin("02-Model", "simulated", "0" * 64, "key", "with no privacy guarantee")


@pytest.fixture(scope="session")
def make_table():
    """A function that lays out a 1 Hz table of `recordings.py`'s columns, with random signals."""

    def make(stretches, seed=0):
        """Makes the table from (subject, condition, seconds, seconds lost before it), one a stretch."""
        rows = []
        for subject in dict.fromkeys(stretch[0] for stretch in stretches):
            time = 0
            for _, condition, seconds, lost in (stretch for stretch in stretches if stretch[0] == subject):
                rows += [(subject, time + lost + second, condition) for second in range(seconds)]
                time += lost + seconds
        table = pd.DataFrame(rows, columns=["subject", "time", "condition"])
        signals = np.random.default_rng(seed).normal(
            20, 20, (len(table), len(EXTENDED))
        )  # beyond the public bounds, too
        table[list(EXTENDED)] = np.where(
            np.isin(EXTENDED, ("BVP_amplitude", "ACC_movement")), np.exp(signals / 10), signals
        )
        return table.assign(label=table["condition"].map(LABELS).astype("Int64"))

    return make


@pytest.fixture(scope="session")
def make_toy_windows():
    """A function that makes random windows of a few people, both classes in each."""

    def make(people=4, each=6, seconds=16, signals=("EDA", "HR"), seed=0):
        rng = np.random.default_rng(seed)
        labels = np.tile(np.arange(each) % 3 == 0, people).astype(int)
        level = np.where(labels, 0.7, 0.3)[:, None, None]
        values = np.clip(level + 0.1 * rng.normal(size=(people * each, seconds, len(signals))), 0, 1)
        subjects = np.repeat([f"S{number + 2}" for number in range(people)], each)
        return Windows(values.astype(np.float32), labels, subjects, signals)

    return make


@pytest.fixture(scope="session")
def toy_codec():
    """The prior of windows like `make_toy_windows`: levels and spreads, but nothing of stress."""
    rng = np.random.default_rng(100)
    level, spread = rng.uniform(0.1, 0.9, (400, 1, 2)), rng.uniform(0.02, 0.15, (400, 1, 2))
    values = np.clip(level + spread * rng.normal(size=(400, 16, 2)), 0, 1).astype(np.float32)
    labels = (rng.random(400) < 0.3).astype(int)
    return DescriptorCodec.from_windows(Windows(values, labels, np.repeat("S2", 400), ("EDA", "HR")))


@pytest.fixture
def undisturbed(monkeypatch):
    """A population for `simulate_recording` whose pulse no movement disturbs, which no wrist's is for long."""
    monkeypatch.setattr(simulation, "LEAST_ARTEFACT", 0.0)
    monkeypatch.setattr(simulation, "CALM", 1e100)  # to the power of the spread 10: no amplitude exceeds the calm pulse
    movement, turning, _, conductance = simulation.POPULATION.wear.spreads
    wear = simulation.POPULATION.wear._replace(spreads=(movement, turning, (0.01, 0.01), conductance))
    return replace(simulation.POPULATION, wear=wear)


@pytest.fixture(scope="session")
def browser():
    """Chromium, headless."""
    if CHROMIUM is None:
        pytest.skip("opens pages in Chromium, which is not installed (Debian: apt-get install chromium)")
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*quiet, "--disable-sync"])
        yield started
        started.close()
