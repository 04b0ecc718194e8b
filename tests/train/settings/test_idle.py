"""Settings that do nothing beside others are named, and what to change."""

import dataclasses
import re

import pytest

from train.settings import NetworkConfig, TrainingConfig
from train.settings.idle import IDLE, idle
from train.tasks.randman import Randman, RandmanConfig

ROWS = [
    ({"momentum": 0.5}, {}, "--momentum 0.5 does nothing with --optimizer adamw"),
    ({"weight_decay": 0.1, "optimizer": "sgd"}, {}, "--weight-decay 0.1 .* with --optimizer adamw"),
    ({}, {"init_spread": 2.0, "init": "gains"}, "--init-spread 2 .* acts with --init lsuv"),
    ({}, {"layer_gain": 1.0, "init": "fluctuation"}, "--layer-gain 1 .* acts with --init gains"),
    ({}, {"membrane_scale": 2.0}, "--membrane-scale 2 .* --readout spikes; .* --readout max"),
    ({}, {"tau_mem": 0.01, "neuron": "tutorial"}, "--tau-mem 0.01 .* --neuron tutorial"),
]


@pytest.mark.parametrize(("training", "network", "words"), ROWS)
def test_what_does_nothing_is_named(training, network, words):
    settings = RandmanConfig(network=NetworkConfig(**network), training=TrainingConfig(**training))
    (said,) = idle(settings)
    assert re.search(f"note: {words}", said), said
    assert said in list(Randman().remarks(settings))


@pytest.mark.parametrize("name", IDLE)
def test_nothing_is_said_where_it_acts(name):
    """With the value that the note recommends, there is no note."""
    other, _, acts = IDLE[name]
    parts = {"network": NetworkConfig(), "training": TrainingConfig()}
    for key, part in parts.items():
        if hasattr(part, name):
            changed = {name: 0.5 * getattr(part, name), other: acts}
            parts[key] = dataclasses.replace(part, **changed)
    assert not list(idle(RandmanConfig(**parts)))
