"""tensorflow-privacy, where it is installed: it has no version for Python 3.12 and later."""

import platform
from importlib.util import find_spec


def why_missing() -> str:
    """Says in one line why tensorflow-privacy is not there, and what to do; empty where it is."""
    if find_spec("tensorflow_privacy"):
        return ""
    return (
        f"tensorflow-privacy is not installed (it has no version for Python {platform.python_version()}): "
        "with Python 3.11 it is, `make run PYTHON=3.11`"
    )
