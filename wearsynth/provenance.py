"""What a file was made from, kept in the file itself.

Whoever reads a file asks for that of the present chain, and gets no other.
"""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from wearsynth.files import replacing

KINDS = {  # of recordings: what pages and files call them
    "real": "real recordings",
    "public": "the public demonstration cohort",
    "simulated": "simulated recordings",
}
# A damaged archive fails in as many ways as there are parts to it.
DAMAGED = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class StaleFileError(ValueError):
    """A file is missing, damaged or not of the present chain; the message says which notebook makes it."""


@dataclass(frozen=True)
class Origin:
    """What a file was made from.

    Args:
        made_by: the notebook that writes such files.
        kind: of the recordings: one of KINDS.
        sha256: of the recordings.
        key: short name for all else that the file depends on: settings, data, code.
        promise: the guarantee that stands behind it, in words; '' for what is not to be shared at all.
    """

    made_by: str
    kind: str
    sha256: str
    key: str
    promise: str = ""

    @property
    def sentence(self) -> str:
        """For a file that is shared: from which kind of recordings it was learned, and under which promise."""
        return f"synthetic, learned from {KINDS[self.kind]} {self.promise}"


def kind_of(recordings: str) -> str:
    """Returns one of KINDS for the parameter: a path, 'simulated', or '' for the embedded public people."""
    return {"": "public", "simulated": "simulated"}.get(recordings, "real")


def save_arrays(path: Path, origin: Origin, **arrays) -> None:
    """Writes arrays and their origin into one .npz file, whole or not at all."""
    with replacing(path) as draft:
        np.savez(draft, origin=json.dumps(asdict(origin)), **arrays)


def load_arrays(path: Path, origin: Origin) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Raises:
        StaleFileError: the file is not there, is damaged, or was made from something else.
    """
    found, arrays = _read(path, origin.made_by)
    differing = [name for name, value in asdict(origin).items() if found[name] != value]
    if differing:
        what = {
            "kind": KINDS.get(found["kind"], "other recordings"),
            "sha256": "other recordings",
            "promise": found["promise"],
        }
        raise StaleFileError(
            f"{path}: comes from {what.get(differing[0], 'other settings, data or code')}, not from what stands before "
            f"it now; run {origin.made_by} again"
        )
    return arrays


def has_origin(path: Path, origin: Origin) -> bool:
    """Whether there is such a file, whole and of this origin."""
    try:
        load_arrays(path, origin)
    except StaleFileError:
        return False
    return True


def _read(path: Path, made_by: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The origin that a file says it has, and its arrays."""
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return asdict(Origin(**json.loads(str(arrays.pop("origin"))))), arrays
    except FileNotFoundError:
        raise StaleFileError(f"{path}: is not there; run {made_by}") from None
    except DAMAGED as error:
        raise StaleFileError(f"{path}: cannot be read ({type(error).__name__}); run {made_by} again") from None
