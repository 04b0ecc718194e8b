"""What is said of activity that will not learn."""

import numpy as np

from flax_snn.diagnosis import SATURATED
from train.model.build import REMEDIES
from train.progress.health import Health


def layer(share, silent=0, size=20):
    """Activity of a layer: its mean share of slots, in which so many neurons take no part."""
    activity = np.full(size, share * size / (size - silent))
    activity[:silent] = 0.0
    return activity


def test_healthy_activity_needs_no_words():
    health = Health(REMEDIES)
    assert health.findings({"hidden_1": layer(0.02)}, 0.5) == []
    assert health.findings({"hidden_1": layer(0.05)}, 0.4) == []


def test_a_silent_layer_is_named_once_and_its_recovery_too():
    health = Health(REMEDIES)
    (words,) = health.findings({"a": layer(0.02), "b": layer(0.001, silent=18)})
    assert words.startswith("b is silent") and "--init lsuv" in words
    assert health.findings({"a": layer(0.02), "b": layer(0.001, silent=19)}) == []
    assert health.findings({"a": layer(0.02), "b": layer(0.02, silent=2)}) == [
        "b is no longer silent"
    ]


def test_seventeen_of_twenty_neurons_may_be_silent():
    assert Health(REMEDIES).findings({"a": layer(0.01, silent=17)}) == []


def test_a_saturated_layer_is_named():
    assert Health(REMEDIES).findings({"a": layer(SATURATED - 0.01)}) == []
    (words,) = Health(REMEDIES).findings({"a": layer(SATURATED)})
    assert words.startswith("a is saturated") and "a quarter of all slots" in words


def test_a_vanished_gradient_is_named():
    (words,) = Health(REMEDIES).findings({"a": layer(0.02)}, 1e-9)
    assert "gradient has vanished" in words


def test_jumps_are_named_with_their_factor():
    health = Health(REMEDIES)
    health.findings({"a": layer(0.02)}, 1.0)
    rate, gradient = health.findings({"a": layer(0.2)}, 100.0)
    assert "firing rate of a rose 10-fold" in rate
    assert "gradient norm rose 100-fold" in gradient
    (fall,) = health.findings({"a": layer(0.02)}, 100.0)
    assert "firing rate of a fell 10-fold" in fall
