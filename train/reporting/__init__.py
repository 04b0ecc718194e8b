"""The report of runs: one HTML file that needs nothing else."""

from train.reporting.collect import check_runs, collect
from train.reporting.page import page

__all__ = ["check_runs", "collect", "page"]
