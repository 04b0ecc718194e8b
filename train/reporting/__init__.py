"""The report of runs: one HTML file that needs nothing else."""

from train.reporting.collect import collect
from train.reporting.page import page

__all__ = ["collect", "page"]
