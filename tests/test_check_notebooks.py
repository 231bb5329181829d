import nbformat
import pytest
from check_notebooks import main, problems
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def parameters_cell():
    return new_code_cell("epsilon: float = 1.0  # privacy budget", metadata={"tags": ["parameters"]})


@pytest.fixture
def notebook():
    """A notebook in order, for a test to spoil."""
    cells = [new_markdown_cell("# Title"), parameters_cell(), new_code_cell("1")]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


@pytest.fixture
def check(tmp_path):
    def write_and_check(notebook):
        path = tmp_path / "notebook.ipynb"
        nbformat.write(notebook, path)
        assert main([str(path)]) == bool(problems(path))
        return problems(path)

    return write_and_check


def spoil_outputs(notebook):
    notebook.cells[2].outputs = [new_output("stream", text="12.3 heartbeats of a real person")]


def spoil_execution_count(notebook):
    notebook.cells[2].execution_count = 3


def spoil_tag(notebook):
    notebook.cells[1].metadata.tags = []


def spoil_second_tag(notebook):
    notebook.cells.append(parameters_cell())


def spoil_order(notebook):
    notebook.cells.insert(1, new_code_cell("import numpy"))


def spoil_untyped(notebook):
    notebook.cells[1].source += "\ndelta = 1e-5"


def spoil_kernel(notebook):
    notebook.metadata.kernelspec.name = "my-laptop"


def spoil_cells(notebook):
    notebook.cells.extend(new_code_cell("1") for _ in range(11))


def spoil_lines(notebook):
    notebook.cells[2].source = "x = 1\n\n" * 150


def spoil_functions(notebook):
    notebook.cells[2].source = "def a():\n    pass\n\n\nclass B:\n    def b(self):\n        pass"


def test_nothing_to_check_is_no_pass():
    assert main([])


def test_a_notebook_in_order_passes(notebook, check):
    assert check(notebook) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_outputs, "carries outputs"),
        (spoil_execution_count, "carries outputs"),
        (spoil_tag, "0 cells tagged"),
        (spoil_second_tag, "2 cells tagged"),
        (spoil_order, "not the first code cell"),
        (spoil_untyped, "parameter 'delta = 1e-5'"),
        (spoil_kernel, "kernel 'my-laptop'"),
        (spoil_cells, "13 code cells"),
        (spoil_lines, "151 lines"),
        (spoil_functions, "2 functions"),
    ],
)
def test_a_spoiled_notebook_is_refused_with_the_reason(notebook, check, spoil, message):
    spoil(notebook)
    (problem,) = check(notebook)
    assert message in problem
