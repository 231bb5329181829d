"""Files that are written whole or not at all."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
        draft.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


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
