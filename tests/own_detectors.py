"""Detectors that the package knows nothing of, as a user's own module has them."""

from functools import partial

import tensorflow as tf
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

layers = tf.keras.layers

neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(3))
# `random_state` of a step, and of a step within a step.
small_forest = make_pipeline(SelectKBest(k=4), make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=5)))
selection = SelectKBest()  # fits, but predicts nothing
number = 3


def network(input_shape):
    return wide(1, input_shape)


def compiled(input_shape):
    model = network(input_shape)
    model.compile(tf.keras.optimizers.SGD(0.125), "mse")
    return model


def wide(width, input_shape):
    small = tf.keras.initializers.RandomNormal(stddev=0.01)  # or a few steps would not turn what starts out wrong
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Rescaling(10, -5),
            layers.Flatten(),
            layers.Dense(width, "sigmoid", kernel_initializer=small),
        ]
    )


part = partial(wide, 1)


def two_outputs(input_shape):
    return wide(2, input_shape)


def output_each_second(input_shape):
    return tf.keras.Sequential([layers.Input(input_shape), layers.Dense(1, "sigmoid")])


def no_network(input_shape):
    return list(input_shape)
