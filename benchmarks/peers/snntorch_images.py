"""The spiking multilayer perceptron of ``train.fashion_mnist`` in snnTorch, trained by torch.

Linear and ``snn.Leaky`` in a Python loop over time steps, as snnTorch documents it; what does not
change with time, the product of the image with the first weights, is computed once, as on our side.
``reset_mechanism="zero"`` with ``reset_delay=False`` is a hard reset in the step of the spike. The
input of both layers is scaled by 1 - beta, which makes ``Leaky`` the exact step of a membrane.

The protocol is one line of JSON in, one out. The first line is the settings, with "file", an npz of
images and labels of each part and of the first weights; then

    {"do": "logits", "count": N}        logits of the first test images with the first weights
    {"do": "batches", "count": N}       trains on so many batches; answers seconds
    {"do": "train", "epochs": N, "seed": N}   trains anew; answers accuracies and seconds
    {"do": "versions"}                  of the packages
"""

from __future__ import annotations

import json
import math
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import snntorch as snn  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
from snntorch import surrogate


class Network(torch.nn.Module):  # type: ignore[misc]
    """Pixels to logits; see the module."""

    def __init__(self, settings: dict[str, Any], arrays: dict[str, np.ndarray] | None, seed: int):
        super().__init__()
        self.settings = settings
        torch.manual_seed(seed)
        inputs, hidden, classes = settings["sizes"]
        self.first = torch.nn.Linear(inputs, hidden, bias=False)
        self.readout = torch.nn.Linear(hidden, classes)
        with torch.no_grad():
            if arrays is None:
                self.first.weight.normal_(0.0, settings["input_gain"] / math.sqrt(inputs))
                self.readout.weight.normal_(0.0, settings["readout_gain"] / math.sqrt(hidden))
                self.readout.bias.zero_()
            else:
                self.first.weight.copy_(torch.from_numpy(arrays["first"].T))
                self.readout.weight.copy_(torch.from_numpy(arrays["readout"].T))
                self.readout.bias.copy_(torch.from_numpy(arrays["bias"]))
        self.neurons = snn.Leaky(
            beta=settings["decay"],
            spike_grad=surrogate.fast_sigmoid(slope=settings["slope"]),
            reset_mechanism="zero",
            reset_delay=False,
        )
        self.reader = snn.Leaky(beta=settings["readout_decay"], reset_mechanism="none")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        settings = self.settings
        current = (1.0 - settings["decay"]) * self.first(images)
        v, read = torch.zeros_like(current), torch.zeros(len(images), settings["sizes"][2])
        total = torch.zeros_like(read)
        for _ in range(settings["steps"]):
            spikes, v = self.neurons(current, v)
            _, read = self.reader((1.0 - settings["readout_decay"]) * self.readout(spikes), read)
            total = total + read
        return settings["scale"] * total / settings["steps"]


class Training:
    """A network, its optimiser and the schedule of the learning rate."""

    def __init__(self, settings: dict[str, Any], network: Network, updates: int):
        self.settings, self.network = settings, network
        weights = [network.first.weight, network.readout.weight]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": settings["weight_decay"]},
                {"params": [network.readout.bias], "weight_decay": 0.0},
            ],
            lr=settings["learning_rate"],
        )
        rising = round(settings["warm_up"] * updates)

        def factor(update: int) -> float:
            if update < rising:
                return 0.1 + 0.9 * update / rising
            return 0.5 * (1.0 + math.cos(math.pi * (update - rising) / max(updates - rising, 1)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        loss = torch.nn.functional.cross_entropy(
            self.network(images.float() / 255.0),
            labels,
            label_smoothing=self.settings["label_smoothing"],
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()


def accuracy(network: Network, images: torch.Tensor, labels: torch.Tensor, size: int) -> float:
    with torch.no_grad():
        right = sum(
            int((network(x.float() / 255.0).argmax(1) == y).sum())
            for x, y in zip(images.split(size), labels.split(size), strict=True)
        )
    return right / len(labels)


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    arrays = dict(np.load(settings["file"]))
    parts = {
        part: (
            torch.from_numpy(arrays[f"{part}_inputs"]),
            torch.from_numpy(arrays[f"{part}_labels"]).long(),
        )
        for part in ("train", "validation", "test")
    }
    images, labels = parts["train"]
    size = settings["batch_size"]
    batches = len(labels) // size
    first = Network(settings, arrays, 0)
    begun = Training(settings, Network(settings, arrays, 0), settings["updates"])
    place = 0
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        begin, busy = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {}
        if asked["do"] == "logits":
            with torch.no_grad():
                answer["logits"] = first(
                    parts["test"][0][: asked["count"]].float() / 255.0
                ).tolist()
        elif asked["do"] == "batches":
            for _ in range(asked["count"]):
                rows = torch.arange(place * size, (place + 1) * size)
                place = (place + 1) % batches
                begun.step(images[rows], labels[rows])
        elif asked["do"] == "train":
            network = Network(settings, None, asked["seed"])
            training = Training(settings, network, batches * asked["epochs"])
            generator = torch.Generator().manual_seed(asked["seed"])
            for _ in range(asked["epochs"]):
                order = torch.randperm(len(labels), generator=generator)
                for rows in order[: batches * size].split(size):
                    training.step(images[rows], labels[rows])
            for part in ("validation", "test"):
                answer[part] = accuracy(network, *parts[part], size)
        else:
            answer = {name: version(name) for name in ("snntorch", "torch", "numpy")}
        answer["seconds"] = time.perf_counter() - begin
        answer["processor_seconds"] = time.process_time() - busy
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
