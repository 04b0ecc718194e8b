"""A run made ready: what has to happen in which order."""

import subprocess
import sys
from pathlib import Path

import pytest

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
