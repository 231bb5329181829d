"""The README and the examples in docstrings: what they show works, and the README stays short."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

from wearsynth import MAIN
from wearsynth.files import PACKAGE
from wearsynth.public import find_cohort
from wearsynth.simulation import write_cohort
from wearsynth.tables import save_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "data" / "README.md",
    ROOT / "workflow" / "README.md",
]


def example(beginning):
    """The one block of Python that begins so."""
    (found,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if block.startswith(beginning))
    return found


def test_the_readme_is_read_in_minutes():
    assert len(README.split()) <= 1500


def test_people_are_drawn_from_python_in_three_lines(tmp_path, monkeypatch):
    write_cohort(tmp_path / "path" / "to" / "WESAD", 3)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example("from wearsynth"), names)  # noqa: S102
    assert names["people"]["subject"].nunique() == 15 and set(names["people"]["label"].dropna()) == {0, 1}


def test_who_receives_the_table_reads_it(tmp_path, monkeypatch):
    """Real people's table stands in for it: that is what it must not make a difference to."""
    real = find_cohort("public").table()
    save_table(real[real["subject"] == "S2"], tmp_path / "synthetic_1hz.csv")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example("import pandas"), names)  # noqa: S102
    assert names["heart_rate"].loc["S2", 1] == pytest.approx(real.query("subject == 'S2' and label == 1")["HR"].mean())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], anchor


@pytest.mark.parametrize("name", [path.stem for path in PACKAGE.glob("*.py") if ">>>" in path.read_text("utf-8")])
def test_examples_in_docstrings(name):
    tried = doctest.testmod(import_module(f"wearsynth.{name}"))
    assert tried.attempted > 0 and tried.failed == 0


def test_the_main_act_has_examples():
    for name, module in MAIN.items():
        assert ">>>" in getattr(import_module(f"wearsynth.{module}"), name).__doc__
