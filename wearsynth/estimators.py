"""Stress detectors of scikit-learn, which learn from a window's simple features."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from wearsynth.features import FEATURE_BOUND

within = FunctionTransformer(np.clip, kw_args={"a_min": -FEATURE_BOUND, "a_max": FEATURE_BOUND})
logistic_regression = make_pipeline(StandardScaler(), within, LogisticRegression(C=0.1, max_iter=2000))
random_forest = RandomForestClassifier(n_estimators=300)
