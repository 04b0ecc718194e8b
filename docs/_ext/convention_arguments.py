"""Values for the conventions that cannot be made without arguments, for pages and for tests."""

from __future__ import annotations

REQUIRED: dict[str, dict[str, float]] = {
    "snntorch_leaky": {"beta": 0.9},
    "snntorch_rleaky": {"beta": 0.9},
    "snntorch_synaptic": {"alpha": 0.8, "beta": 0.9},
    "spyx_lif": {"beta": 0.9},
    "spyx_rlif": {"beta": 0.9},
    "spyx_cubalif": {"alpha": 0.8, "beta": 0.9},
    "sinabs_lif": {"tau_mem": 10.0},
    "sinabs_exp_leak": {"tau_mem": 10.0},
}
"""Values of parameters without a default. A convention that lacks one stops the build."""
