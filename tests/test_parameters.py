"""Parameters: what a notebook and a command line take, and that both refuse the same."""

import math

import pytest

from wearsynth import parameters
from wearsynth.parameters import ParameterError, check, check_values, defaults, literal, read


def handed_over(notebook, **given):
    """A notebook's variables after papermill has put in its cell."""
    own = {name: defaults()[name] for name in parameters.declared(notebook)}
    cell = "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in given.items())
    return own | given | {"In": ["", "epsilon: float = 1.0", cell, "parameters.check(...)"]}


def test_the_defaults_are_in_their_range():
    check_values(defaults())
    for notebook in parameters.RunFolder.NOTEBOOKS:
        check(notebook, handed_over(notebook))


@pytest.mark.parametrize(
    ("notebook", "given", "message"),
    [
        ("02-Model", {"epsilom": 5}, "epsilom: no notebook has this parameter; did you mean 'epsilon'?"),
        ("02-Model", {"epsilon": "1e-1"}, "epsilon='1e-1': expected a number"),
        ("02-Model", {"epsilon": math.nan}, "epsilon=nan: expected a number above 0"),
        ("02-Model", {"share": "false"}, "share='false': expected true or false"),
        ("02-Model", {"share": 0}, "share=0: expected true or false"),
        ("02-Model", {"folds": 2}, "folds=2: expected text"),
        ("02-Model", {"steps": True}, "steps=True: expected a whole number"),
        ("02-Model", {"steps": 10.0}, "steps=10.0: expected a whole number"),
        ("02-Model", {"delta": 0.0}, "delta=0.0: expected a number from 1e-12"),
        ("02-Model", {"delta": 1e-30}, "delta=1e-30: expected a number from 1e-12"),
        ("02-Model", {"stress_share": 1}, "stress_share=1: expected a number between 0 and 1"),
        ("02-Model", {"steps": 10**27}, "steps=1000000000000000000000000000: expected at most 1000000000"),
        ("02-Model", {"window_seconds": 3601}, "window_seconds=3601: expected at most 3600"),
        ("02-Model", {"epsilon": None}, "epsilon=None: expected a number"),
        ("02-Model", {"generator": "x" * 10**6}, "generator='xxxx"),
        ("03-Generator", {"licence": ""}, "licence='': expected an SPDX identifier, such as CC-BY-4.0"),
        ("05-Stress_Detection", {"detectors": "cmm"}, "detector 'cmm': expected cnn"),
        ("01-Data", {"simulated_people": 2}, "simulated_people=2: expected at least 3"),
        ("01-Data", {"simulated_people": 10**12}, "simulated_people=1000000000000: expected at most 1000"),
    ],
)
def test_a_notebook_refuses_what_run_py_refuses(notebook, given, message):
    with pytest.raises(ParameterError) as caught:
        check(notebook, handed_over(notebook, **given))
    assert str(caught.value).startswith(message)


def test_whole_numbers_pass_as_numbers():
    check("02-Model", handed_over("02-Model", epsilon=1))


def test_by_hand_a_cell_may_run_again_after_others():
    variables = {name: defaults()[name] for name in parameters.declared("02-Model")}
    check("02-Model", variables | {"run": object(), "windows": [], "In": ["", "run = RunFolder('.')\nkey = 1"]})
    check("02-Model", variables | {"In": ["", "# Parameters\nepsilon = = 1"]})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("steps", "1e3"),
        ("steps", "1_000"),
        ("steps", "\u0661\u0660"),  # ten, in Arabic-Indic digits
        ("steps", "10.0"),
        ("epsilon", "1_0"),
        ("epsilon", "one"),
        ("share", "yes"),
    ],
)
def test_text_that_is_no_value_is_refused(name, text):
    with pytest.raises(ParameterError, match=f"{name}="):
        read(name, text)


def test_text_becomes_values():
    texts = {"steps": "10", "epsilon": "inf", "delta": "1e-5", "share": "FALSE", "folds": "S2"}
    assert [read(name, text) for name, text in texts.items()] == [10, math.inf, 1e-5, False, "S2"]


def test_braces_of_a_path_stand_for_themselves():
    assert literal("runs/a{seed}{").format(seed=1) == "runs/a{seed}{"
