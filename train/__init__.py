"""The training app: ``python -m train.<task>`` and ``python -m train.evaluate``, from a clone."""

from importlib.util import find_spec

_missing = [name for name in ("optax", "orbax", "tqdm", "tyro") if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"the training app needs {', '.join(_missing)}: install it from the clone with"
        " pip install -e '.[train]'"
    )
