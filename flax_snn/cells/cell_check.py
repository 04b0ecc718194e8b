"""The checks of a cell when it is made, and of what a runner is given as a cell."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import flax.linen as nn

from flax_snn import checks
from flax_snn.cells import neuron_values
from flax_snn.dynamics import Neuron, check_neuron
from flax_snn.surrogate import Surrogate

if TYPE_CHECKING:
    from flax_snn.cells.neuron_cell import NeuronCell


def check_cell(cell: NeuronCell) -> None:
    """Checks that the configuration of a cell fits itself and its neuron.

    Raises:
      TypeError: a field of the wrong type.
      ValueError: a value outside its range, or fields that contradict each other.
    """
    name = type(cell).__name__
    check_dynamics(name, cell.dynamics, cell.neuron)
    surrogate = cell.surrogate
    check_surrogate(name, surrogate)
    check_neuron(name, cell.dynamics, surrogate, recurrent=cell.recurrent)
    _check_divisor(name, cell.dynamics, surrogate or cell.dynamics.surrogate)
    _check_types(name, cell)
    if surrogate is not None and not cell.dynamics.spikes:
        raise ValueError(
            f"{name}: a surrogate is the derivative of a spike, and {type(cell.dynamics).__name__}"
            f" never spikes; leave out surrogate={surrogate!r}"
        )
    if cell.state_dtype is not None:
        remedy = "leave it out for that of the parameters"
        checks.floating(f"{name}: state_dtype", cell.state_dtype, remedy=remedy)
    if cell.features is not None:
        remedy = "leave it out for a cell without input weights"
        checks.whole_number(f"{name}: features", cell.features, remedy=remedy)
    checks.whole_number(f"{name}: feature_axes", cell.feature_axes)
    if cell.features is not None and cell.feature_axes != 1:
        raise ValueError(
            f"{name}: feature_axes: expected 1 for a cell with input weights, got"
            f" {cell.feature_axes}; leave out features, or feature_axes"
        )
    if cell.use_bias and cell.features is None:
        raise ValueError(
            f"{name}: use_bias=True is the bias of input weights, which features=None leaves out;"
            " give features, or learn=('bias',)"
        )
    neuron_values.check_learn(name, cell.dynamics, cell.learn)
    if cell.values is not None:
        neuron_values.check_values(name, cell.dynamics, cell.values)
    others = {"learn": cell.learn, "values": cell.values}
    neuron_values.check_individual(name, cell.dynamics, cell.individual, others)


@functools.lru_cache(maxsize=256)
def _check_divisor(name: str, dynamics: Neuron, surrogate: Surrogate) -> None:
    """Checks that the surrogate derivative is not divided by 0 at the threshold of the neuron.

    Remembered, since Flax makes a cell anew each time it binds it.

    Raises:
      ValueError: a threshold at or below the potential that the surrogate is scaled by.
    """
    if surrogate.above is None or not dynamics.spikes:
        return
    numbers = neuron_values.fields_of(dynamics.coefficients())
    theta = next((numbers[key] for key in ("theta", "v_peak") if key in numbers), None)
    surrogate.check_threshold(f"{name}: threshold", theta)


def _check_types(name: str, cell: NeuronCell) -> None:
    """Checks dtypes, initialisers and the class of the matrix products.

    Raises:
      TypeError: something else.
    """
    for field in ("dtype", "param_dtype"):
        if getattr(cell, field) is not None:
            remedy = "give one such as jnp.float32"
            checks.floating(f"{name}: {field}", getattr(cell, field), remedy=remedy)
    for field in ("kernel_init", "bias_init", "recurrent_kernel_init", "dot_general_cls"):
        value = getattr(cell, field, None)
        if value is None or callable(value):
            continue
        what = "an initialiser, a function (key, shape, dtype)"
        remedy = "give nn.initializers.constant(array) for a given array"
        if field == "dot_general_cls":
            what = "a class whose instances multiply, or functools.partial of one"
            remedy = "for a crossbar: functools.partial(snn.crossbar.DotGeneral, device)"
        raise TypeError(checks.error_text(f"{name}: {field}", what, checks.shown(value), remedy))


def check_names(kind: type, names: Iterable[str], neuron: type) -> None:
    """Checks the names of arguments, and says where those of the neuron belong.

    Args:
      kind: the class that is made.
      names: names of the arguments.
      neuron: class of the neuron, whose constructor may know them.

    Raises:
      TypeError: an argument that is one of the neuron, or is unknown.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    unknown = [name for name in names if name not in fields]
    misplaced = [n for n in unknown if n in inspect.signature(neuron).parameters]
    if misplaced:
        call = f"snn.{neuron.__name__}({', '.join(f'{n}=...' for n in misplaced)})"
        raise TypeError(
            f"{kind.__name__}: {', '.join(misplaced)} is of the neuron, not of the"
            f" {'cell' if issubclass(kind, nn.RNNCellBase) else 'layer'}; give dynamics={call}"
        )
    public = [field.name for field in dataclasses.fields(kind) if field.name != "parent"]
    checks.argument_names(kind.__name__, (n for n in unknown if n != "parent"), public)


def check_dynamics(name: str, dynamics: Any, kind: type) -> None:
    """Checks that the dynamics of a cell or layer are of the kind that it runs.

    Raises:
      TypeError: other dynamics, or none.
    """
    if isinstance(dynamics, kind):
        return
    remedy = "features=... is the number of neurons" if checks.is_whole_number(dynamics) else ""
    article = "an" if kind.__name__[0] in "AEIOU" or kind.__name__.startswith("L") else "a"
    what = f"{article} {kind.__name__}, such as snn.{kind.__name__}()"
    if kind.__name__ == "Neuron":
        what = "a Neuron, such as snn.LIFDynamics()"
    raise TypeError(checks.error_text(f"{name}: dynamics", what, checks.shown(dynamics), remedy))


def check_surrogate(name: str, surrogate: Any) -> None:
    """Checks that a surrogate derivative, where one is given, is a `Surrogate`.

    Raises:
      TypeError: something else.
    """
    if surrogate is None or isinstance(surrogate, Surrogate):
        return
    remedy = ""
    if getattr(surrogate, "__module__", "") == "flax_snn.surrogate":
        remedy = "call it: snn.surrogate.superspike()"
    elif callable(surrogate):
        remedy = "make one of your own function with snn.surrogate.custom(function)"
    what = "a Surrogate such as snn.surrogate.superspike(slope=10)"
    raise TypeError(checks.error_text(f"{name}: surrogate", what, repr(surrogate), remedy))


def check_is_cell(name: str, cell: Any) -> None:
    """Checks that what a runner is given is a cell, which computes one time step.

    Args:
      name: name of the runner.
      cell: an ``nn.RNNCellBase``, or something with its two methods.

    Raises:
      TypeError: a layer that runs over a whole sequence, a class, or anything else.
    """
    kind = type(cell)
    if isinstance(cell, nn.RNNCellBase) or all(
        name in dir(kind) for name in ("initialize_carry", "num_feature_axes")
    ):
        return
    what, came, remedy = "a cell (an nn.RNNCellBase such as snn.LIFCell(128))", kind.__name__, ""
    if isinstance(cell, type):
        came, remedy = f"the class {cell.__name__}", f"make one: {cell.__name__}(...)"
    elif isinstance(cell, nn.RNN):
        remedy = "that is a runner of a cell already"
    elif isinstance(cell, nn.Module):
        remedy = (
            "a layer runs over whole sequences by itself: put it beside the runner, not into it"
        )
    raise TypeError(checks.error_text(f"{name}: cell", what, came, remedy))


def check_has_state(cell: nn.RNNCellBase, carry: Any, inputs: Any) -> Any:
    """Returns the input of a step, if a cell was called with its state and an input.

    Raises:
      TypeError: called with one argument, as a layer is.
    """
    if inputs is None:
        name = type(cell).__name__
        raise TypeError(
            f"{name}: expected the state and the input of one time step, got one argument of shape"
            f" {getattr(carry, 'shape', None)}; a cell computes one step: for sequences, say in"
            f" nn.Sequential, wrap it in a runner, nn.RNN({name}(...)) or snn.RNN({name}(...))"
        )
    return inputs
