"""The task of Fashion-MNIST: images as constant currents, or as the times of spikes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from flax_snn.datasets.recorded.images import fashion_mnist
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model import Model
from train.model.encoders import Encoder
from train.settings.checks import number, share, whole
from train.tasks.fashion_mnist.encoding import SIDE, Images
from train.tasks.fashion_mnist.network import READOUT, ImageNetwork
from train.tasks.fashion_mnist.settings import FashionConfig, FashionData, FashionNetwork
from train.tasks.raster import RasterTask, Shape
from train.tasks.recorded.model import two_models
from train.tasks.recorded.prepared import Arrays
from train.tasks.recorded.task import FileTask

VALIDATION = 5000
"""Images at the end of the training part that are for validation; a tenth of a smaller part."""

FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


class FashionMNIST(FileTask):
    """Train a spiking network on Fashion-MNIST: pictures of clothes in ten classes.

        python -m train.fashion_mnist --data-dir fashion-mnist
        python -m train.fashion_mnist --data-dir fashion-mnist --architecture conv --hidden 512
        python -m train.fashion_mnist --data-dir fashion-mnist --encoding latency --steps 16

    The folder has the four original IDX files, packed or not. The last 5000 training images are for
    validation. Results: docs/real_data.md.
    """

    settings: ClassVar[type[Any]] = FashionConfig
    source = (
        "Install Debian's package dataset-fashion-mnist and give /usr/share/datasets/fashion-mnist,"
        " or download the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,"
        " t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz from"
        " https://github.com/zalandoresearch/fashion-mnist into one folder"
    )

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        data: FashionData = settings.data
        network: FashionNetwork = settings.network
        whole("--steps", data.steps, 1)
        whole("--pixel-shift", data.pixel_shift, 0)
        if data.pixel_shift >= SIDE:
            raise ConfigError(
                f"--pixel-shift: expected fewer than the {SIDE} pixels of a row, got"
                f" {data.pixel_shift}"
            )
        number("--latency-tau", data.latency_tau, "> 0", "seconds")
        number("--latency-threshold", data.latency_threshold, "> 0")
        share("--latency-threshold", data.latency_threshold)
        if settings.training.jitter:
            raise ConfigError(
                "--jitter moves spikes, and images are moved by --pixel-shift; give --jitter 0"
            )
        if network.init == "fluctuation":
            raise ConfigError(
                "--init fluctuation: expected lsuv or gains, since currents of an image do not"
                " fluctuate"
            )
        share("--dropout", network.dropout)
        number("--tau-readout", network.tau_readout, "> 0", "seconds")
        for channels in network.channels:
            whole("--channels", channels, 1)
        whole("--norm-groups", network.norm_groups, 0)
        if network.architecture == "conv" and network.norm_groups:
            uneven = [n for n in network.channels if n % network.norm_groups]
            if uneven:
                raise ConfigError(
                    f"--norm-groups {network.norm_groups}: expected a divisor of each of"
                    f" --channels, got {uneven[0]} channels; 0 leaves normalisation out"
                )
        if SIDE // 2 ** len(network.channels) < 1:
            raise ConfigError(
                f"--channels: expected at most 4 convolutions, of which each halves the image, got"
                f" {len(network.channels)}"
            )
        super().check(settings)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes."""
        data: FashionData = settings.data
        return Shape(data.steps, SIDE * SIDE, 10, data.dt)

    def encoder(self, settings: Any) -> Encoder:
        """Returns what makes currents or spikes of images."""
        return Images(settings.data)

    def build(self, settings: Any) -> Model:
        """Builds the network."""
        data, network = settings.data, settings.network
        outputs = 10 * network.population

        def made(training: bool) -> ImageNetwork:
            constant = data.encoding == "direct"
            return ImageNetwork(network, data.dt, constant, training, outputs)

        return two_models(
            RasterTask.build(self, settings),
            made,
            readout_layer=READOUT,
            rescaled=network.init_spread if network.init == "lsuv" else None,
        )

    def files(self, folder: Path) -> Sequence[Path]:
        """Returns the four files."""
        found = []
        for name in FILES:
            here = [folder / name, folder / f"{name}.gz"]
            present = [path for path in here if path.is_file()]
            if not present:
                raise ConfigError(f"--data-dir {folder}: there is no {name}[.gz]. {self.source}")
            found.append(present[0])
        return found

    def encoding(self, settings: Any) -> Any:
        """Returns nothing: images are kept as they are."""
        del settings
        return "images"

    def prepare(self, folder: Path, settings: Any) -> Arrays:
        """Reads the images of both parts."""
        del settings
        found: dict[str, Any] = {}
        parts: tuple[Literal["train", "test"], ...] = ("train", "test")
        for part in parts:
            try:
                images = fashion_mnist(folder, part)
            except (ValueError, OSError) as error:
                raise ConfigError(f"--data-dir: {error}") from error
            if images.images.shape[1:] != (SIDE, SIDE):
                raise ConfigError(
                    f"--data-dir {folder}: expected images of {SIDE} x {SIDE} pixels, got"
                    f" {images.images.shape[1:]} in the {part} part; {self.source}"
                )
            found[f"{part}_inputs"] = images.images.reshape(len(images), -1)
            found[f"{part}_labels"] = images.labels
        return found

    def parts(self, arrays: Arrays, settings: Any) -> Dataset:
        """Cuts the validation part from the end of the training part."""
        del settings
        train, test = (
            Part(arrays[f"{part}_inputs"], arrays[f"{part}_labels"]) for part in ("train", "test")
        )
        rest = len(train.labels) - min(VALIDATION, len(train.labels) // 10)
        return Dataset(train.take(slice(rest)), train.take(slice(rest, None)), test)
