"""Checks the form of notebooks: python tests/check_notebooks.py NOTEBOOK..."""

import re
import sys
from pathlib import Path

import nbformat

MAX_CODE_CELLS = 12
MAX_CODE_LINES = 150  # without blank ones
MAX_FUNCTIONS = 1
PARAMETER = re.compile(r"\w+: .+ = .+  # .+")


def code_lines(cell: nbformat.NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def problems(path: Path) -> list[str]:
    """Names everything about a notebook that breaks the rules.

    Args:
        path: the notebook.

    Returns:
        One sentence a problem; none for a notebook in order.
    """
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in code_lines(cell)]
    functions = sum(bool(re.match(r"\s*(async )?def ", line)) for line in lines)
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    kernel = notebook.metadata.get("kernelspec", {}).get("name")

    found = []
    if any(cell.outputs or cell.execution_count is not None for cell in cells):
        found.append("carries outputs or execution counts: clear them before committing")
    if len(tagged) != 1:
        found.append(f"{len(tagged)} cells tagged 'parameters', expected one")
    elif tagged[0] is not cells[0]:
        found.append("the cell tagged 'parameters' is not the first code cell")
    for cell in tagged:
        for line in code_lines(cell):
            if not line.startswith("#") and not PARAMETER.fullmatch(line):
                found.append(f"parameter {line!r}: expected 'name: type = value  # unit and meaning' on one line")
    if kernel != "python3":  # what every installation of ipykernel calls its kernel
        found.append(f"kernel {kernel!r}: expected 'python3'")
    for count, limit, what in [
        (len(cells), MAX_CODE_CELLS, "code cells"),
        (len(lines), MAX_CODE_LINES, "lines of code"),
        (functions, MAX_FUNCTIONS, "functions"),
    ]:
        if count > limit:
            found.append(f"{count} {what}, at most {limit}: move code into the package")
    return found


def main(paths: list[str]) -> int:
    found = [f"{path}: {problem}" for path in paths for problem in problems(Path(path))]
    if not paths:
        found.append("no notebook to check")
    print("\n".join(found) if found else f"{len(paths)} notebooks in order")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
