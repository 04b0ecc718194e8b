"""The description of a crossbar: devices at its crossings, and the circuit around them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from flax_snn import checks
from flax_snn.crossbar.converters import Converter
from flax_snn.crossbar.faults import Faults
from flax_snn.crossbar.noise import ProgrammingNoise, ReadNoise, WriteVerify
from flax_snn.crossbar.retention import Drift, Relaxation
from flax_snn.crossbar.wires import IRDrop

Compensation = Literal["global", "column"]

TILE = 512
"""Rows and columns of a tile of the presets."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A memristive crossbar, whose effects are switched on by fields; all are off by default.

    A weight is a pair of devices, and what is read of them at time t is (section by section, in
    this order):

        g+, g-  = g_min + k max(+-w, 0)            k = (g_max - g_min) / w_max
        levels    round each g to one of `levels` between g_min and g_max
        programming, write_verify, faults, drift or relaxation, read_noise
        w'      = (g+ - g-) / (g_max - g_min)      a weight at full scale is 1

    and what a tile makes of inputs x:

        x'      = DAC(a x) + input_noise N(0, 1)   a by `input_scaling`; spikes need no DAC
        y'      = x' w' - IR drop + sqrt(output_noise^2 + weight_read_noise^2 sum x'^2) N(0, 1)
        y       = ADC(y') w_max / a                with bound_management again, for smaller a
        y       = alpha y                          alpha by `drift_compensation`

    Tiles along the inputs are summed as numbers behind their ADCs.

    >>> import flax.linen as nn, flax_snn as snn, functools, jax, jax.numpy as jnp
    >>> device = snn.crossbar.Device.pcm(faults=snn.crossbar.Faults(low=0.01))
    >>> layer = nn.Dense(10, dot_general_cls=functools.partial(snn.crossbar.DotGeneral, device))
    >>> x = jnp.ones((3, 20))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> chip = snn.crossbar.program(layer, variables, jax.random.key(1), x)
    >>> chip = snn.crossbar.at_time(chip, 3600.0, jax.random.key(2))
    >>> layer.apply(chip, x, rngs={"reading": jax.random.key(3)}).shape
    (3, 10)

    Attributes:
      g_max: conductance in uS of a weight of w_max.
      g_min: conductance in uS of a weight of 0.
      w_max: weight at full scale; by default the largest of each tile, or column, when it is
        programmed. With a number, larger weights are refused.
      scaling: whether ``tile`` or ``column`` has a w_max of its own.
      levels: conductances that a device can be given; ``None``: any.
      programming: noise of the programming.
      write_verify: further programmings of devices that missed their target.
      faults: devices that are stuck, at random; `program` takes maps too.
      drift: fall of conductances with time.
      relaxation: scatter measured at some times, in the place of programming noise and drift.
      read_noise: slow noise of the devices, drawn for each time at which a chip is looked at.
      dac: converter of the inputs, of which 1 is full scale. Larger ones come out as its bound:
        scale them (`input_scaling`) where that is not meant.
      adc: converter of the outputs of a tile; an input and a weight at full scale give 1.
      input_scaling: ``None``: a = 1; ``abs_max``: a = 1 / max |x| of each input vector; a number
        theta: a = 1 / theta.
      bound_management: where an output is beyond the ADC, halve a and go again, for each
        ``vector`` or for the whole ``batch``, until none is, or a has been halved more often than
        the DAC resolves: to more than a quarter of 1 / DAC step (1000 at most).
      tiles: most rows and columns of a tile; ``None``: one tile, however large.
      ir_drop: loss along the wires.
      input_noise: standard deviation of noise on converted inputs.
      output_noise: standard deviation of noise in front of the ADC.
      weight_read_noise: standard deviation of fast noise of the devices, drawn for each product.
      drift_compensation: what is read of known inputs at programming and at time t gives the factor
        that a tile (``global``) or a column (``column``) has lost. The probe, the rows of the
        identity, is averaged over so many reads that converters and fast noise do not show.

    Raises:
      ValueError: a negative noise, tiles without rows or columns, contradicting switches.
      TypeError: an effect of another class.

    Reference: Rasch et al., *A flexible and fast PyTorch toolkit for simulating training and
    inference on analog crossbar arrays*, 2021; Joshi et al., *Accurate deep neural network
    inference using computational phase-change memory*, 2020 (drift compensation).
    """

    g_max: float = 25.0
    g_min: float = 0.0
    w_max: float | None = None
    scaling: Literal["tile", "column"] = "tile"
    levels: int | None = None
    programming: ProgrammingNoise | None = None
    write_verify: WriteVerify | None = None
    faults: Faults | None = None
    drift: Drift | None = None
    relaxation: Relaxation | None = None
    read_noise: ReadNoise | None = None
    dac: Converter | None = None
    adc: Converter | None = None
    input_scaling: Literal["abs_max"] | float | None = None
    bound_management: Literal["vector", "batch"] | None = None
    tiles: tuple[int, int] | None = None
    ir_drop: IRDrop | None = None
    input_noise: float = 0.0
    output_noise: float = 0.0
    weight_read_noise: float = 0.0
    drift_compensation: Compensation | None = None

    def __post_init__(self) -> None:
        """Checks that such a device can be built."""
        if isinstance(self.g_max, str):
            raise TypeError(
                f"Device: g_max: expected a conductance in uS, got {self.g_max!r}; kinds of devices"
                " are Device.ideal(), Device.pcm() and Device.reram()"
            )
        noises = ("input_noise", "output_noise", "weight_read_noise")
        checks.fields(self, checks.non_negative, *noises, "g_min")
        above_g_min = {"low": self.g_min, "high": None, "low_allowed": False}
        checks.fields(self, checks.in_range, "g_max", **above_g_min)
        if self.w_max is not None:
            checks.fields(self, checks.positive, "w_max")
        if self.levels is not None:
            checks.fields(self, checks.whole_number, "levels", at_least=2)
        for name, kind in _EFFECTS.items():
            what = f"a {kind.__name__}, or None to switch it off"
            checks.instance(f"Device: {name}", getattr(self, name), (kind, type(None)), what=what)
        checks.choice("Device: scaling", self.scaling, ("tile", "column"))
        checks.choice("Device: bound_management", self.bound_management, (None, "vector", "batch"))
        checks.choice(
            "Device: drift_compensation", self.drift_compensation, (None, "global", "column")
        )
        if not isinstance(self.input_scaling, str) and self.input_scaling is not None:
            checks.fields(self, checks.positive, "input_scaling")
        elif self.input_scaling not in (None, "abs_max"):
            raise ValueError(
                "Device: input_scaling: expected None, 'abs_max' or a number > 0, got"
                f" {self.input_scaling!r}"
            )
        if self.tiles is not None:
            if not isinstance(self.tiles, tuple) or len(self.tiles) != 2:
                raise ValueError(f"Device: tiles: expected (rows, columns), got {self.tiles!r}")
            for name, value in zip(("rows", "columns"), self.tiles, strict=True):
                checks.whole_number(f"Device: tiles: {name}", value)
        self._check_combination()

    def _check_combination(self) -> None:
        if self.relaxation is not None and (self.programming or self.drift):
            raise ValueError(
                "Device: relaxation is the error of programming and of time together; expected no"
                " programming noise and no drift beside it"
            )
        if self.write_verify is not None and self.programming is None:
            raise ValueError(
                "Device: write_verify programs again what programming noise has missed; expected"
                " programming=ProgrammingNoise(...) with it"
            )
        if self.bound_management is not None and self.adc is None:
            raise ValueError(
                "Device: bound_management looks at outputs beyond the ADC; expected"
                " adc=Converter(...) with it"
            )

    @classmethod
    def ideal(cls, **changes: Any) -> Device:
        """Returns a crossbar that computes what the weights say.

        Args:
          **changes: fields with another value.
        """
        return cls(**changes)

    @classmethod
    def pcm(cls, **changes: Any) -> Device:
        """Returns phase-change memory, 25 uS, with the circuit that the analog libraries assume.

        Programming noise, drift, read noise; DAC 7 bits, ADC 9 bits with bound 12, output noise
        0.06, tiles of 512 x 512, global drift compensation.

        Args:
          **changes: fields with another value, None to switch an effect off.
        """
        memory = {"programming": ProgrammingNoise(), "drift": Drift(), "read_noise": ReadNoise()}
        return cls(**{"g_max": 25.0, **memory, **_CIRCUIT, **changes})

    @classmethod
    def reram(cls, **changes: Any) -> Device:
        """Returns resistive memory, 40 uS: scatter as measured after 1 s, 1 day and 2 days.

        Other times have no data and are refused. The circuit is that of `pcm`; there is no drift
        to compensate.

        Args:
          **changes: fields with another value, None to switch an effect off.
        """
        memory = {"g_max": 40.0, "relaxation": Relaxation(), "drift_compensation": None}
        return cls(**{**_CIRCUIT, **memory, **changes})

    def replace(self, **changes: Any) -> Device:
        """Returns the device with other values of some fields."""
        return dataclasses.replace(self, **changes)

    def with_noise(self, factor: float) -> Device:
        """Returns the device with the noise of its devices multiplied by a factor.

        Args:
          factor: of programming noise, relaxation and read noise.
        """
        checks.non_negative("Device.with_noise: factor", factor)
        noisy = {
            name: dataclasses.replace(effect, scale=factor * effect.scale)
            for name in ("programming", "relaxation", "read_noise")
            if (effect := getattr(self, name)) is not None
        }
        return self.replace(**noisy)

    @property
    def scatters(self) -> bool:
        """Whether two programmings of the same weights differ, or two readings of one of them."""
        effects = (self.programming, self.faults, self.drift, self.relaxation, self.read_noise)
        return any(effect is not None for effect in effects)

    @property
    def noisy(self) -> bool:
        """Whether two products of the same inputs differ."""
        return bool(self.input_noise or self.output_noise or self.weight_read_noise)

    @property
    def linear(self) -> bool:
        """Whether the circuit computes a plain matrix product."""
        circuit = (self.dac, self.adc, self.ir_drop)
        return not self.noisy and all(effect is None for effect in circuit)

    @property
    def first_time(self) -> float:
        """First time in s at which a chip can be read: 0, or the first that was measured."""
        return 0.0 if self.relaxation is None else self.relaxation.times[0]

    def limits(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the most rows and columns of a tile of a matrix."""
        return (shape[0], shape[1]) if self.tiles is None else self.tiles


_EFFECTS = {
    "programming": ProgrammingNoise,
    "write_verify": WriteVerify,
    "faults": Faults,
    "drift": Drift,
    "relaxation": Relaxation,
    "read_noise": ReadNoise,
    "dac": Converter,
    "adc": Converter,
    "ir_drop": IRDrop,
}

_CIRCUIT: dict[str, Any] = {
    "dac": Converter(bits=7, bound=1.0),
    "adc": Converter(bits=9, bound=12.0),
    "output_noise": 0.06,
    "tiles": (TILE, TILE),
    "drift_compensation": "global",
}
