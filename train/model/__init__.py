"""The network of the app: encoder, one runner over one chain of cells, readout, objective."""

from train.model.model import Model, Output

__all__ = ["Model", "Output"]
