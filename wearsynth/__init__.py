"""Synthetic smartwatch recordings under differential privacy."""

import os

# TensorFlow's C++ side reads this once, on its first import. Only 3 also hides the three "errors" with which 2.15
# greets every machine; real errors arrive as Python exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Likewise. One core a training: see parallel.py.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

__version__ = "0.1.0"
