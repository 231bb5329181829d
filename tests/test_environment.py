import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import wearsynth
from wearsynth import files

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = [Requirement(line) for line in PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]]
LOCK_TEXT = (ROOT / "requirements.lock").read_text()
LOCK = [Requirement(line.rstrip("\\")) for line in LOCK_TEXT.splitlines() if re.match(r"\w", line)]
PYTHONS = ["3.11", "3.12", "3.13"]


def applies(requirement, python=None):
    """Whether a requirement's marker holds: on this Python, or on another one of this system."""
    other = {"python_version": python, "python_full_version": f"{python}.0"} if python else {}
    return requirement.marker is None or requirement.marker.evaluate(other)


def locked(python=None):
    """Name -> version of all that the lock installs."""
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in LOCK if applies(r, python)}


def test_conda_installs_the_lock_and_nothing_else():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert python.split("=")[0] == "python"
    assert python.split("=")[1] in PYTHONS
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.lock"]}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_every_direct_dependency_is_locked_at_a_version_it_allows(requirement, python):
    if applies(requirement, python):
        assert requirement.specifier.contains(locked(python)[canonicalize_name(requirement.name)])


def test_every_locked_package_is_one_version_with_a_hash():
    assert all(re.fullmatch(r"==[\w.]+", str(r.specifier)) for r in LOCK)
    entries = re.split(r"\n(?=\w)", LOCK_TEXT)[1:]
    assert len(entries) == len(LOCK)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lock_names_no_place_to_install_from():
    assert not re.search(r"://|--(extra-)?index|--find-links| @ |/\w+/", LOCK_TEXT)


def test_what_is_installed_is_what_is_locked():
    assert {name: version(name) for name in locked()} == locked()


@pytest.mark.parametrize("program", ["jupyterlab", "jupyter nbconvert", "papermill", "ruff"])
def test_the_programs_start(program):
    # tensorflow-privacy holds `packaging` at a version so old that a program can install and then not import.
    subprocess.run([sys.executable, "-m", *program.split(), "--version"], check=True, timeout=60)


def test_the_package_and_its_metadata_name_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert wearsynth.__version__ == PYPROJECT["project"]["version"] == citation["version"]


def test_the_map_of_modules_is_true_and_imports_go_one_way():
    """In the order of CONTRIBUTING.md every module comes after all that it imports: so there is no circle."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| modules, in order of imports |")[1].split("\n\n")[0]
    modules = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", table))
    package = {path.stem: path for path in files.PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert sorted(modules) == sorted(package)
    for number, name in enumerate(modules):
        imported = {*files.imported(ast.parse(package[name].read_text()))} & {*modules}
        assert imported <= {*modules[:number]}, name
