"""The basilar membrane: how fast each place of the cochlea moves, a linear filter of the sound.

The membrane is a row of damped springs in shallow water. At the place x, in cm from the stapes, it
has the stiffness S, the damping R and the mass m of a unit of area, and at the angular frequency
w = 2 pi f the impedance xi / (i w):

    S(x) = S0 exp(-alpha x) - a         R(x) = R0 exp(-alpha x / 2),  R0 = delta sqrt(S0 m)
    xi(x, w) = S(x) - m w^2 - i w R(x)
    g(x, w)  = w sqrt(rho / (h xi))                                 wave number
    G(x, w)  = 2 g(0, w) / alpha  +  integral of g from 0 to x      phase
    p(x, w)  = sqrt(G / g) H0(G)                                    pressure; H0 = J0 + i Y0
    z(w)     = sqrt(2 S0 / h) i H0*(q) / H1*(q)                     what drives it; H* = J - i Y,
               q = 2 w / alpha sqrt(2 / (h S0))                     of orders 0 and 1
    v(x, w)  = 2 w / xi(x, w)  p(x, w) / p(0, w)  z(w)              velocity for a sound of 1

The integral has a closed form. With y = exp(-alpha x / 2) and k = sqrt(a + m w^2), for rho = 1,

    integral = -2 i w / (alpha k sqrt(h)) log(F(1) / F(y))
    F(y) = (i (2 k^2 + i w R0 y) / (2 k) - sqrt(S0 y^2 - i w R0 y - k^2)) / y

Sources: Sieroka, Dosch and Rupp, Semirealistic models of the cochlea, Journal of the Acoustical
Society of America 120, 2006; parameters and use: Cramer et al., The Heidelberg spiking data sets
for the systematic evaluation of spiking neural networks, IEEE Transactions on Neural Networks and
Learning Systems 33(7), 2022.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float, Num

BLOCK = 0.32
"""Seconds of velocity that are computed at a time."""

BEFORE, AFTER = 0.12, 0.2
"""Seconds of sound around a block that still count in it: the slowest place rings for 190 ms down
to 1e-8 of its energy."""


@dataclasses.dataclass(frozen=True)
class BasilarMembrane:
    """The basilar membrane of a cochlea; equations and source at the top of the file.

    The defaults are those with which the Heidelberg data sets were made.

    Args:
      channels: places along the membrane, from the stapes, where high frequencies are heard, to
        the far end; 700 by default.
      length: place of the last channel in cm, 3.5 by default.
      stiffness: S0 in g / (s^2 cm^2), 1e9 by default.
      stiffness_offset: a in g / (s^2 cm^2), 3500 by default.
      attenuation: alpha in 1 / cm, 3 by default.
      damping: delta, without a unit, 0.15 by default.
      mass: m in g / cm^2, 0.05 by default.
      height: h of the channel of liquid in cm, 0.1 by default.
      causal: False, the default, is the filter of the Heidelberg data sets: their converter turns
        the equations into time with the sign of i of the other convention, so that each place
        rings before the sound that moves it, and low frequencies come first. True is the filter in
        its right direction of time.

    Raises:
      TypeError: a setting of another type.
      ValueError: a setting that is not above 0, or a membrane that is not stiff to its end.

    Example:
      >>> from flax_snn.encode import BasilarMembrane
      >>> BasilarMembrane(channels=3).best_frequencies().round(-1).tolist()  # in Hz
      [22510.0, 1630.0, 110.0]
    """

    channels: int = 700
    length: float = 3.5
    stiffness: float = 1e9
    stiffness_offset: float = 3500.0
    attenuation: float = 3.0
    damping: float = 0.15
    mass: float = 0.05
    height: float = 0.1
    causal: bool = False

    def __post_init__(self) -> None:
        checks.fields(self, checks.whole_number, "channels")
        checks.fields(self, checks.boolean, "causal")
        checks.fields(
            self,
            checks.positive,
            *("length", "stiffness", "attenuation", "damping", "mass", "height"),
            "stiffness_offset",
        )
        softest = self.stiffness * np.exp(-self.attenuation * self.length)
        if softest <= self.stiffness_offset:
            raise ValueError(
                checks.error_text(
                    "BasilarMembrane: stiffness_offset",
                    f"less than the stiffness at the far end, {softest:.4g}",
                    self.stiffness_offset,
                    "shorten the membrane, or lower the offset",
                )
            )

    def places(self) -> Float[np.ndarray, "F"]:
        """Returns the place of each channel in cm from the stapes."""
        return np.linspace(0.0, self.length, self.channels)

    def best_frequencies(self) -> Float[np.ndarray, "F"]:
        """Returns the frequency in Hz at which each place by itself would resonate."""
        stiff = self.stiffness * np.exp(-self.attenuation * self.places()) - self.stiffness_offset
        return np.sqrt(stiff / self.mass) / (2 * np.pi)

    def response(self, frequencies: Float[np.ndarray, "K"]) -> Num[np.ndarray, "F K"]:
        """Returns the velocity of each place for a tone of amplitude 1, 0 at the frequency 0.

        Args:
          frequencies: in Hz, >= 0.
        """
        from scipy import special  # an import of the package does not need it

        w = 2 * np.pi * np.asarray(frequencies, np.float64)
        velocities = np.zeros((self.channels, w.size), np.complex128)
        positive = w > 0
        driven = np.ascontiguousarray(w[positive])
        start = self._wave(driven, 0.0)
        q = 2 * driven / self.attenuation * np.sqrt(2 / (self.height * self.stiffness))
        drive = 1j * special.hankel2e(0, q) / special.hankel2e(1, q)
        drive *= np.sqrt(2 * self.stiffness / self.height) * 2 * driven
        drive /= np.sqrt(start.phase / start.number) * _scaled_hankel(start.phase)
        for row, place in zip(velocities, self.places(), strict=True):
            wave = self._wave(driven, place)
            far = wave.phase - start.phase
            # Beyond, the wave has died out to less than 1e-9.
            alive = np.flatnonzero(far.imag < 20.0)
            g = wave.phase[alive]
            pressure = np.sqrt(g / wave.number[alive]) * _scaled_hankel(g) * np.exp(1j * far[alive])
            row[np.flatnonzero(positive)[alive]] = pressure * drive[alive] / wave.xi[alive]
        return velocities.conj() if self.causal else velocities

    def _wave(self, w: np.ndarray, place: float) -> _Wave:
        """Returns phase, wave number and xi at one place."""
        damping = self.damping * np.sqrt(self.stiffness * self.mass)
        k = np.sqrt(self.stiffness_offset + self.mass * w**2)

        def xi(y: float) -> np.ndarray:
            return self.stiffness * y**2 - k**2 - 1j * w * damping * y

        def antiderivative(y: float) -> np.ndarray:
            return (1j * (2 * k**2 + 1j * w * damping * y) / (2 * k) - np.sqrt(xi(y))) / y

        y = np.exp(-self.attenuation * place / 2)
        number = w / np.sqrt(self.height * xi(y))
        phase = 2 / self.attenuation * w / np.sqrt(self.height * xi(1.0))
        log = np.log(antiderivative(1.0) / antiderivative(y))
        phase = phase - 2j * w / (self.attenuation * k * np.sqrt(self.height)) * log
        return _Wave(phase, number, xi(y))


class _Wave(NamedTuple):
    phase: np.ndarray
    number: np.ndarray
    xi: np.ndarray


def _scaled_hankel(z: np.ndarray) -> np.ndarray:
    """Returns H0(z) exp(-i z), which neither overflows nor vanishes, within 1e-9.

    Beyond |z| = 12 it is the asymptotic series (Abramowitz and Stegun, 9.2.7), which is faster.
    """
    from scipy import special

    result = np.empty_like(z)
    large = np.abs(z) > 12.0
    result[~large] = special.hankel1e(0, z[~large])
    step = 1j / (8.0 * z[large])
    term, total = np.ones_like(step), np.ones_like(step)
    for k in range(1, 13):
        term *= step * (-((2 * k - 1) ** 2) / k)
        total += term
    result[large] = np.sqrt(2.0 / (np.pi * z[large])) * np.exp(-0.25j * np.pi) * total
    return result


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How a sound of one sampling rate is cut into blocks, and how many steps each block makes.

    Attributes:
      rate: sampling rate of the sound in Hz.
      step_rate: steps of velocity a second.
      window: samples that a block is computed from.
      hop: samples from one block to the next.
      before: samples of the window before the block.
      steps: steps of velocity that a block makes.
      window_steps: steps of the whole window.
      skipped: steps of the window before the block.
    """

    rate: int
    step_rate: int
    window: int
    hop: int
    before: int
    steps: int
    window_steps: int
    skipped: int

    @classmethod
    def at(cls, rate: int, step_rate: int, causal: bool) -> Blocks:
        """Returns the blocks of a sound.

        Raises:
          ValueError: rates in which a block is no whole number of samples or steps.
        """
        before = AFTER if causal else BEFORE
        for name, value in (("rate", rate), ("step_rate", step_rate)):
            if value % 25:
                raise ValueError(
                    checks.error_text(
                        name, "a multiple of 25 Hz", value, "resample the sound, say with sox"
                    )
                )
        if rate > 2 * step_rate:
            raise ValueError(
                checks.error_text(
                    "rate", f"at most twice the step_rate of {step_rate}", rate, "raise step_rate"
                )
            )
        whole = BEFORE + BLOCK + AFTER

        def in_samples(seconds: float) -> int:
            return round(seconds * rate)

        def in_steps(seconds: float) -> int:
            return round(seconds * step_rate)

        return cls(
            rate=rate,
            step_rate=step_rate,
            window=in_samples(whole),
            hop=in_samples(BLOCK),
            before=in_samples(before),
            steps=in_steps(BLOCK),
            window_steps=in_steps(whole),
            skipped=in_steps(before),
        )

    def velocity(
        self, window: Float[Array, "window"], response: Num[Array, "F K"]
    ) -> Float[Array, "steps F"]:
        """Returns the velocity of each place in one block.

        What lies above half the step rate is sampled as it is, and folds back: the hair cells,
        which are slow, are what filters it.

        Args:
          window: the sound of the block and around it, (window,).
          response: `BasilarMembrane.response` at the frequencies of `frequencies`.
        """
        spectrum = response * jnp.fft.rfft(window)[None]
        half = self.window_steps // 2
        if spectrum.shape[-1] > half + 1:
            above = jnp.flip(spectrum[:, half + 1 :], axis=-1).conj()
            # At half the step rate, both signs of the frequency fold to one.
            spectrum = spectrum[:, : half + 1].at[:, half].multiply(2)
            spectrum = spectrum.at[:, spectrum.shape[-1] - 1 - above.shape[-1] : -1].add(above)
        moved = jnp.fft.irfft(spectrum, self.window_steps) * (self.window_steps / self.window)
        return moved[:, self.skipped : self.skipped + self.steps].T

    def frequencies(self) -> Float[np.ndarray, "K"]:
        """Returns the frequencies of the Fourier transform of a window in Hz."""
        return np.fft.rfftfreq(self.window, 1 / self.rate)


@functools.lru_cache(maxsize=4)
def block_response(membrane: BasilarMembrane, blocks: Blocks) -> Num[np.ndarray, "F K"]:
    """Returns the response of a membrane for the windows of a sound, complex64; it is remembered.

    That of 700 channels takes seconds: it is computed once for each sampling rate in a process.
    """
    response = membrane.response(blocks.frequencies()).astype(np.complex64)
    response.flags.writeable = False
    return response
