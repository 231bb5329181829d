"""The notebooks' parameters: their names, types, defaults and ranges, for `run.py`, for sweeps and for the notebooks.

Each notebook's own first code cell declares them. papermill takes a name that no notebook has for one more variable,
and a text for a number, and goes on without a word; so everybody asks here before anything is done.
"""

import ast
import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from wearsynth import windows
from wearsynth.detector import choose_detectors
from wearsynth.files import PACKAGE
from wearsynth.generators import check_kind
from wearsynth.privacy import Promise, read_epsilons
from wearsynth.protocols import choose_protocols
from wearsynth.public import find_cohort
from wearsynth.runs import RunFolder
from wearsynth.share import check_licence
from wearsynth.studies import study_of

ROOT = PACKAGE.parent
NOTEBOOKS = tuple(ROOT / f"{name}.ipynb" for name in RunFolder.NOTEBOOKS)
AT_LEAST = {
    "simulated_people": 3,
    "people": 3,
    "attack_shadows": 0,
    "detector_epochs": 1,
    "detector_seeds": 1,
    "seed": 0,
}
# Beyond these a mistyped number would fill memory or a disk, or would not end; others take up to MOST.
AT_MOST = {
    "simulated_people": 1000,
    "people": 2000,
    "window_seconds": 3600,
    "hop_seconds": 3600,
    "attack_shadows": 10_000,
    "detector_seeds": 1000,
}
MOST = 10**9
TYPES = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "str": (str, "text"),
}
LONGEST_SHOWN = 100  # characters of a value in a message


class BadInput(ValueError):
    """What was given cannot be run."""


class ParameterError(BadInput):
    """There is no such parameter, or its value is not one that it may have."""


def literal(path: Path) -> str:
    """Returns a path as papermill has to be given it: it takes braces for places to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


@cache
def declared(notebook: str) -> dict[str, dict[str, Any]]:
    """What a notebook declares: name -> papermill's description, with `inferred_type_name`, `default` and `help`.

    Args:
        notebook: such as '02-Model'.
    """
    import papermill  # takes a second, and what is refused should be so at once

    return papermill.inspect_notebook(literal(ROOT / f"{notebook}.ipynb"))


def all_declared() -> dict[str, dict[str, Any]]:
    """What all notebooks declare together."""
    return {name: about for notebook in RunFolder.NOTEBOOKS for name, about in declared(notebook).items()}


def defaults() -> dict[str, Any]:
    """Every parameter at its default, a value of its declared type."""
    return {name: read(name, about["default"].strip("\"'")) for name, about in all_declared().items()}


def read(name: str, text: str) -> Any:
    """Reads a value from text.

    Raises:
        ParameterError: no notebook has the parameter, or the text is no value of its type.
    """
    known = all_declared()
    if name not in known:
        raise ParameterError(f"-p {name}: no notebook has this parameter; did you mean {nearest(name, known)!r}?")
    kind, expected = TYPES[known[name]["inferred_type_name"]]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float) and not (text.isascii() and "_" not in text):
            raise ValueError("digits of another script, or Python's own spelling")
        return kind(text)
    except (KeyError, ValueError):
        raise ParameterError(f"{name}={_shown(text)}: expected {expected}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is most like a mistyped one."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]


def check(notebook: str, variables: dict[str, Any]) -> None:
    """Checks the parameters of a notebook within it: `parameters.check("02-Model", globals())`.

    Raises:
        ParameterError: one is of another type or out of its range, or one that no notebook has was handed over.
    """
    known = all_declared()
    for name in _injected(variables):
        if name not in known:
            raise ParameterError(f"{name}: no notebook has this parameter; did you mean {nearest(name, known)!r}?")
    check_values({name: variables[name] for name in declared(notebook)})


def check_values(values: dict[str, Any]) -> None:
    """Checks types and ranges of the parameters given, all of which have to be declared.

    Raises:
        ParameterError: names the parameter, its value and what is expected.
    """
    known = all_declared()
    for name, value in values.items():
        kind, expected = TYPES[known[name]["inferred_type_name"]]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ParameterError(f"{name}={_shown(value)}: expected {expected}")
        if kind is not bool and isinstance(value, int) and value > AT_MOST.get(name, MOST):
            raise ParameterError(f"{name}={_shown(value)}: expected at most {AT_MOST.get(name, MOST)}")
    try:
        for names, rule in _rules():
            if {*names} <= {*values}:
                rule(*(values[name] for name in names))
    except ValueError as error:
        raise ParameterError(str(error)) from None


def _rules() -> list[tuple[tuple[str, ...], Callable[..., Any]]]:
    """What has to hold of parameters: their names, and what raises ValueError for values out of range."""
    promise = tuple(field.name for field in fields(Promise) if field.name in all_declared())
    return [
        (promise, lambda *values: Promise(**dict(zip(promise, values)))),
        (("generator",), check_kind),
        (("prior",), find_cohort),
        (("study", "recordings"), study_of),
        (("study", "recordings", "schedule", "window_seconds"), _check_schedule),
        (("protocols",), choose_protocols),
        (("signals", "scaling", "window_seconds", "hop_seconds"), windows.check),
        (("detectors",), choose_detectors),
        (("private_epsilons",), read_epsilons),
        (("stress_share",), _check_share),
        (("licence",), check_licence),
        *(
            ((name,), lambda value, name=name, least=least: _at_least(name, value, least))
            for name, least in AT_LEAST.items()
        ),
    ]


def _check_schedule(study: str, recordings: str, schedule: str, window_seconds: int) -> None:
    known = study_of(study, recordings)
    parts = known.read_schedule(schedule or known.schedule)
    for label, conditions in enumerate(known.classes):
        if max(part.seconds for part in parts if part.label == label) < window_seconds:
            what = " or ".join(conditions)
            raise ValueError(f"schedule={schedule!r}: expected {what} to last a window, {window_seconds} s, at least")


def _check_share(value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"stress_share={value!r}: expected a number between 0 and 1, or 0 for the study's own")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}")


def _injected(variables: dict[str, Any]) -> set[str]:
    """Names that papermill has handed over: it puts them into a cell of their own, which IPython remembers."""
    cells = [cell for cell in variables.get("In", []) if cell.startswith("# Parameters\n")]
    return {name for cell in cells for name in _assigned(cell)}


def _assigned(cell: str) -> set[str]:
    """Names that a cell gives values to; none in one that was typed by hand, and wrong, so that it did nothing."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return set()
    targets = [target for node in statements if isinstance(node, ast.Assign) for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _shown(value: Any) -> str:
    shown = repr(value) if not isinstance(value, float) or math.isfinite(value) else str(value)
    return shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "..."
