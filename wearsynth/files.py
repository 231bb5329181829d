"""Files that are written whole or not at all, and short names for what they depend on."""

import ast
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = Path(__file__).parent


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a draft, which takes the place of `path` once it is written.

    Whoever is stopped in between leaves the old file, or none, and never half of one. A file that other folders link to
    stays as it is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{os.getpid()}.{path.name}")  # what writes it may go by how the name ends
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON; an infinite number becomes the string 'inf', which JSON has no number for."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame, digits: int) -> None:
    """Writes a table with so many digits, without its index."""
    with replacing(path) as draft:
        table.to_csv(draft, index=False, float_format=f"%.{digits}g", encoding="utf-8")


def fingerprint(*parts: Any) -> str:
    """Returns a short name for everything that a piece of work depends on.

    Args:
        parts: files, which count by their content, or values.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def source_of(*modules: str) -> str:
    """Returns a short name for what modules of this package compute, and all those that they import.

    Comments, docstrings and layout do not count, nor do modules that none of these reach.

    Args:
        modules: their names within the package, such as 'cgan'.
    """
    found, waiting = {}, list(modules)
    while waiting:
        path = PACKAGE / f"{waiting.pop()}.py"
        if path.stem not in found and path.exists():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[path.stem] = ast.dump(_without_docstrings(tree))
            waiting += imported(tree)
    return fingerprint(sorted(found.items()))


def package_source() -> str:
    """Returns a short name for what the whole package computes."""
    return source_of(*sorted(path.stem for path in PACKAGE.glob("*.py")))


def imported(tree: ast.Module) -> list[str]:
    """Modules of this package that a module imports, at its top or within a function."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = [node.module.removeprefix("wearsynth.") for node in froms if node.module.startswith("wearsynth.")]
    return named + [alias.name for node in froms if node.module == "wearsynth" for alias in node.names]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def sha256(paths: list[Path]) -> str:
    """Returns the SHA-256 of the files' contents, one behind the other, read in pieces."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers and infinities into what JSON can hold."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
