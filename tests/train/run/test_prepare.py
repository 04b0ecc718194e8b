"""A run made ready: what has to happen in which order."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from train.data.parts import Part
from train.errors import ConfigError
from train.settings import NetworkConfig
from train.tasks.randman import Randman, RandmanConfig

ROOT = Path(__file__).resolve().parents[3]

LOADING = """
import sys
from train.errors import ConfigError
from train.run import prepare
from train.tasks.randman import Randman
from train.settings import RunOptions

class Seen(Randman):
    def dataset(self, settings, options):
        raise ConfigError(f"imported: {'tensorflow_datasets' in sys.modules}")

try:
    prepare.prepare(Seen(), Seen.settings(), RunOptions(data="tfds"), None)
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_tfds_is_imported_before_data_are_loaded_in_a_thread():
    """Its import changes `import` in all threads: the network was then built of empty modules."""
    done = subprocess.run([sys.executable, "-c", LOADING], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "imported: True\n", done.stderr


@pytest.mark.slow
def test_weights_that_cannot_be_rescaled_on_data_are_an_error_of_flags():
    """A batch without spikes moves no membrane: said with the flags that help."""
    model = Randman().build(RandmanConfig(network=NetworkConfig(hidden=(3,))))
    silent = Part(np.zeros((2, 100, 20), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(ConfigError, match=r"--init lsuv: .* none: .*--batch-size.*--init gains"):
        model.begin(model.init(jax.random.key(0)), lambda: silent)
