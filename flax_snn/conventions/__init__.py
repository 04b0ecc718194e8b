"""The field's definitions of "the LIF neuron", each as coefficients and switches of the one step.

Most names begin with the framework whose neuron they build. Five stand for equations of
publications, which no framework owns:

==============  ======================================================================
``tutorial``    the pure-JAX tutorial on rate-coded spiking networks
``zenke``       Zenke & Ganguli 2018, Zenke & Vogels 2021; SpyTorch and Stork
``zenke_li``    the readout of Zenke & Vogels 2021
``refractory``  the refractory LIF neuron of simulations that time Python, NumPy and JAX
``network``     the simulation of a recurrent network that is given as a weight matrix
==============  ======================================================================

Each constructor takes the parameter names and units of its framework, plus ``dt`` in seconds where
the framework has none, and returns dynamics for the cells of `flax_snn`. Traces of the frameworks
themselves test that they compute the same.
"""

from flax_snn.conventions.jax_frameworks import (
    brainpy_lif,
    jaxpike_li,
    jaxpike_lif,
    jaxsnn_li,
    jaxsnn_lif,
    slax_lif,
)
from flax_snn.conventions.norse import norse_li, norse_li_box, norse_lif, norse_lif_box
from flax_snn.conventions.published import network, refractory, tutorial, zenke, zenke_li
from flax_snn.conventions.rockpool import rockpool, rockpool_exp_syn, rockpool_torch
from flax_snn.conventions.sinabs import sinabs_exp_leak, sinabs_lif
from flax_snn.conventions.snntorch import snntorch_leaky, snntorch_rleaky, snntorch_synaptic
from flax_snn.conventions.spikingjelly import spikingjelly_cuba, spikingjelly_li, spikingjelly_lif
from flax_snn.conventions.spyx import spyx_cubalif, spyx_li, spyx_lif, spyx_rlif

__all__ = [
    "brainpy_lif",
    "jaxpike_li",
    "jaxpike_lif",
    "jaxsnn_li",
    "jaxsnn_lif",
    "network",
    "norse_li",
    "norse_li_box",
    "norse_lif",
    "norse_lif_box",
    "refractory",
    "rockpool",
    "rockpool_exp_syn",
    "rockpool_torch",
    "sinabs_exp_leak",
    "sinabs_lif",
    "slax_lif",
    "snntorch_leaky",
    "snntorch_rleaky",
    "snntorch_synaptic",
    "spikingjelly_cuba",
    "spikingjelly_li",
    "spikingjelly_lif",
    "spyx_cubalif",
    "spyx_li",
    "spyx_lif",
    "spyx_rlif",
    "tutorial",
    "zenke",
    "zenke_li",
]


def __dir__() -> list[str]:
    return __all__
