"""Synthetic smartwatch recordings under differential privacy."""

import importlib
import os
import sys

# TensorFlow's C++ side reads this once, on its first import. Real errors arrive as Python exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Likewise. One core a training: see parallel.py.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Read by scikit-learn's OpenMP: threads that wait sleep. Spinning, t-SNE takes ten times as long beside other work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# `tf.keras` is Keras 2, from the package tf-keras.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Keeps tensorflow-privacy from importing all that it has, as part of that needs packages that are no more.
sys.skip_tf_privacy_import = True
# nbformat's checks of internationalised addresses, of which a notebook has none, take two seconds to import.
sys.modules.setdefault("rfc3987_syntax", None)

__version__ = "0.1.0"

# The main act, `draw_people(fit(windows, promise), n, schedule)`, and what it takes; imported when asked for, as
# TensorFlow takes long.
MAIN = {
    "Promise": "privacy",
    "draw_people": "sessions",
    "fit": "generators",
    "make_windows": "windows",
    "read_study": "studies",
    "read_table": "readers",
    "simulate_table": "simulation",
}


def __getattr__(name: str):
    if name in MAIN:
        return getattr(importlib.import_module(f"wearsynth.{MAIN[name]}"), name)
    raise AttributeError(f"module 'wearsynth' has no attribute {name!r}")
