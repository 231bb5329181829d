"""Stress detectors of scikit-learn, which learn from a window's simple features."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from wearsynth.features import FARTHEST

within = FunctionTransformer(np.clip, kw_args={"a_min": -FARTHEST, "a_max": FARTHEST})
logistic_regression = make_pipeline(StandardScaler(), within, LogisticRegression(C=0.1, max_iter=2000))
random_forest = RandomForestClassifier(n_estimators=300)
