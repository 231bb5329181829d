"""Stress detectors of scikit-learn, which learn from a window's simple features."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

logistic_regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
random_forest = RandomForestClassifier(n_estimators=300)
