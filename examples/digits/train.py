"""Train and publish versions of the example model: handwritten digits of 8 by 8 grey values, 0 to 16.

    python examples/digits/train.py --output REPOSITORY --version 3 --kind mlp

Publishes REPOSITORY/digits/<version>/ as a SavedModel that maps `images`, float [N, 64], to `classes`, int64 [N], and
`probabilities`, float [N, 10]. A version that is already there is left alone: versions never change. `--version` and
`--kind` may be given several times, pair by pair. Needs numpy, scikit-learn and tensorflow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Both are read when tensorflow is imported: silence, and the same numbers on every run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = "digits"
SEED = 20260101
PIXELS = 64
WHITE = 16.0
#: The rest of the 1,797 images trains; these, the last ones, were written by other people.
TEST_IMAGES = 360


@dataclass(frozen=True)
class Layer:
    """One dense layer."""

    weights: np.ndarray
    bias: np.ndarray


def train(kind: str, images: np.ndarray, classes: np.ndarray) -> list[Layer]:
    """Return the layers of a trained classifier; ReLU lies between them, softmax after the last."""
    if kind == "logistic":
        classifier = LogisticRegression(C=0.1, max_iter=1000).fit(images, classes)
        return [Layer(classifier.coef_.T, classifier.intercept_)]
    network = MLPClassifier((128, 64), alpha=1e-3, max_iter=200, random_state=SEED).fit(images, classes)
    return [Layer(weights, bias) for weights, bias in zip(network.coefs_, network.intercepts_, strict=True)]


def _variable(values: np.ndarray) -> tf.Variable:
    return tf.Variable(values, dtype=tf.float32)


class Digits(tf.Module):
    """The classifier as a TensorFlow graph."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Take the trained layers over as variables."""
        super().__init__()
        self.layers = [(_variable(layer.weights), _variable(layer.bias)) for layer in layers]

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, name="images")])
    def predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the class of each image and the probability of every class."""
        values = images / WHITE
        for weights, bias in self.layers[:-1]:
            values = tf.nn.relu(values @ weights + bias)
        weights, bias = self.layers[-1]
        probabilities = tf.nn.softmax(values @ weights + bias)
        return {"classes": tf.argmax(probabilities, axis=1, output_type=tf.int64), "probabilities": probabilities}


def publish(model: Digits, target: Path) -> None:
    """Write the SavedModel beside its place, then rename: nobody ever sees a part of a version."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
    try:
        tf.saved_model.save(model, str(staging), signatures={"serving_default": model.predict})
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Train and publish versions of the example model digits.")
    parser.add_argument("--output", type=Path, required=True, metavar="REPOSITORY", help="directory of all models")
    parser.add_argument("--version", type=int, action="append", required=True, metavar="N", help="the version's number")
    parser.add_argument(
        "--kind", choices=("logistic", "mlp"), action="append", required=True, help="logistic: small; mlp: better"
    )
    options = parser.parse_args(arguments)
    if len(options.version) != len(options.kind):
        parser.error("--version and --kind go together, pair by pair")
    if min(options.version) < 1:
        parser.error(f"--version {min(options.version)}: versions are positive integers")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and publish what is asked for and print how good it is."""
    options = parse(arguments)
    images, classes = load_digits(return_X_y=True)
    known, unseen = images[:-TEST_IMAGES] / WHITE, images[-TEST_IMAGES:]
    for version, kind in zip(options.version, options.kind, strict=True):
        target = options.output / MODEL / str(version)
        if target.exists():
            print(f"{target}: already there, left alone")
            continue
        model = Digits(train(kind, known, classes[:-TEST_IMAGES]))
        answers = model.predict(tf.constant(unseen, tf.float32))["classes"].numpy()
        publish(model, target)
        print(f"{target}: published, {kind}, {np.mean(answers == classes[-TEST_IMAGES:]):.1%} of unseen digits right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
