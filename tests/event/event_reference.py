"""Event-driven neurons once more, as plainly as can be: float64, one event after the other.

What tests of `flax_snn.event` compare with. Crossings are looked for on a dense grid and closed in
by bisection; nothing is taken from the package. `margin` says how near a membrane came to its
threshold without crossing it, and how flat it was where it crossed: tests leave out networks in
which rounding could decide.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

Event = tuple[float, int]

_GRID = 600


@dataclasses.dataclass(frozen=True)
class Network:
    """A layer of N neurons behind F sources; fields that are per neuron are arrays ``(N,)``.

    Delays are seconds, ``(F, N)``, ``(F, 1)`` or ``(1, N)``; ``None`` for none.
    """

    kernel: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    threshold: np.ndarray
    v_rest: np.ndarray
    v_reset: np.ndarray
    refractory: np.ndarray
    delay: Any = None
    recurrent_kernel: Any = None
    recurrent_delay: Any = None

    def moved(self, step: float, **directions: Any) -> Network:
        """Return the network with fields moved along directions, for finite differences."""
        changes = {name: getattr(self, name) + step * d for name, d in directions.items()}
        return dataclasses.replace(self, **changes)


def flow(v: Any, i: Any, t: Any, tau_mem: float, tau_syn: float) -> tuple[Any, Any]:
    """Potential above rest and current a time t later, by the textbook formula."""
    a, b = 1.0 / tau_mem, 1.0 / tau_syn
    if abs(a - b) < 1e-9 * a:
        kernel = a * t * np.exp(-a * t)
    else:
        # exp(-a t) - exp(-b t), of which little would be left near equal time constants.
        kernel = a / (b - a) * np.exp(-a * t) * -np.expm1((a - b) * t)
    return v * np.exp(-a * t) + i * kernel, i * np.exp(-b * t)


@dataclasses.dataclass
class Run:
    """What came out: spikes in order; and how far from a decision all of them were."""

    spikes: list[Event]
    margin: float
    history: list[list[_Neuron]]
    duration: float

    def potential(self, n: int, t: Any) -> np.ndarray:
        """Potential of a neuron at times; at that of an event, from below."""
        return np.array([self._before(n, x).at(x)[0] + self._before(n, x).rest for x in t])

    def current(self, n: int, t: Any) -> np.ndarray:
        """Synaptic current, times resistance, of a neuron at times."""
        return np.array([self._before(n, x).at(x)[1] for x in t])

    def integral(self, n: int) -> float:
        """Integral of the potential of a neuron over the run, by quadrature between events."""
        nodes, weights = np.polynomial.legendre.leggauss(30)
        total = 0.0
        for low, high in self._pieces(n):
            half = 0.5 * (high - low)
            # Pieces are short against the time constants, or the last one, cut in 8.
            for k in range(8):
                part = half / 8
                t = low + (2 * k + 1) * part + part * nodes
                total += part * float(weights @ self.potential(n, t))
        return total

    def maximum(self, n: int) -> float:
        """Largest potential of a neuron, the resting potential at least."""
        neuron = self.history[n][0]
        if any(k == n for _, k in self.spikes):
            return neuron.threshold + neuron.rest
        best = neuron.rest
        for low, high in self._pieces(n):
            grid = np.linspace(low, high, 200)
            v = self.potential(n, grid)
            k = int(np.argmax(v))
            best = max(best, float(v[k]))
            around = (grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)])
            top = minimize_scalar(
                lambda t: -self.potential(n, [t])[0],
                bounds=around,
                method="bounded",
                options={"xatol": 1e-10},
            )
            best = max(best, -float(top.fun))
        return best

    def _before(self, n: int, t: float) -> _Neuron:
        return [state for state in self.history[n] if state.time < t or state.time == 0.0][-1]

    def _pieces(self, n: int) -> list[tuple[float, float]]:
        cuts = {self.duration}
        for state in self.history[n]:
            cuts |= {state.time, min(state.free, self.duration)}
        edges = sorted(cuts)
        return [(a, b) for a, b in itertools.pairwise(edges) if a < b]

    def table(self, neurons: int, slots: int) -> np.ndarray:
        """Spike times ``(N, slots)``, padded with infinity."""
        times = np.full((neurons, slots), np.inf)
        for n in range(neurons):
            own = [t for t, k in self.spikes if k == n]
            times[n, : len(own)] = own
        return times


@dataclasses.dataclass
class _Neuron:
    tau_mem: float
    tau_syn: float
    threshold: float  # above rest, as the state
    reset: float
    hold: float
    rest: float
    v: float = 0.0
    i: float = 0.0
    time: float = 0.0
    free: float = 0.0
    fired: int = 0

    def at(self, t: float) -> tuple[float, float]:
        """State at a time behind that of the neuron."""
        held = min(max(self.free, self.time), t)
        _, i = flow(0.0, self.i, held - self.time, self.tau_mem, self.tau_syn)
        v, i = flow(self.v, i, t - held, self.tau_mem, self.tau_syn)
        return float(v), float(i)

    def crossing(self, end: float) -> tuple[float, float]:
        """Time of the next spike before ``end``, and the margin."""
        start = max(self.time, self.free)
        if not start < end:
            return math.inf, math.inf
        v, i = self.at(start)

        def gap(t: Any) -> Any:
            return flow(v, i, t, self.tau_mem, self.tau_syn)[0] - self.threshold

        grid = np.linspace(0.0, end - start, _GRID)
        above = np.flatnonzero(gap(grid) > 0)
        if not above.size:
            return math.inf, float(-gap(grid).max()) if v < self.threshold else 0.0
        right = grid[above[0]]
        root = brentq(gap, grid[above[0] - 1], right, xtol=1e-15, rtol=1e-15)
        slope = flow(v, i, root, self.tau_mem, self.tau_syn)[1] - self.threshold
        # How far a parabola of this slope rises above the threshold.
        return start + root, 0.5 * slope**2


def simulate(
    network: Network,
    times: Any,
    sources: Any,
    *,
    duration: float,
    max_spikes: float = math.inf,
    most: int = 200,
) -> Run:
    """Run one sample from rest; at most so many spikes."""
    size = network.kernel.shape[1]
    queue: list[tuple[float, int, float]] = []

    def send(time: float, kernel: Any, delay: Any, source: int) -> None:
        delays = np.broadcast_to(0.0 if delay is None else delay, kernel.shape)
        for n in range(size):
            heapq.heappush(queue, (time + delays[source, n], n, kernel[source, n]))

    for time, source in zip(times, sources, strict=True):
        if math.isfinite(time):
            send(float(time), network.kernel, network.delay, int(source))
    rest = network.v_rest
    neurons = [
        _Neuron(
            network.tau_mem[n],
            network.tau_syn[n],
            network.threshold[n] - rest[n],
            network.v_reset[n] - rest[n],
            network.refractory[n],
            rest[n],
        )
        for n in range(size)
    ]
    spikes: list[Event] = []
    history = [[dataclasses.replace(neuron)] for neuron in neurons]
    margin = math.inf
    while len(spikes) < most:
        end = min(queue[0][0] if queue else math.inf, duration)
        found = [
            neuron.crossing(end) if neuron.fired < max_spikes else (math.inf, math.inf)
            for neuron in neurons
        ]
        margin = min(margin, min(m for _, m in found))
        n = int(np.argmin([t for t, _ in found]))
        time = found[n][0]
        if math.isfinite(time):
            neuron = neurons[n]
            _, neuron.i = neuron.at(time)
            neuron.v, neuron.time, neuron.free = neuron.reset, time, time + neuron.hold
            neuron.fired += 1
            spikes.append((time, n))
            history[n].append(dataclasses.replace(neuron))
            if network.recurrent_kernel is not None:
                send(time, network.recurrent_kernel, network.recurrent_delay, n)
        elif queue and queue[0][0] < duration:
            time, n, weight = heapq.heappop(queue)
            neuron = neurons[n]
            neuron.v, neuron.i = neuron.at(time)
            neuron.i, neuron.time = neuron.i + weight, time
            history[n].append(dataclasses.replace(neuron))
        else:
            break
    return Run(spikes, margin, history, duration)
