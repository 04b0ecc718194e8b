"""Scripts, not tests: pytest must not import them for their doctests, the workers least of all."""

collect_ignore = ["peers", "networks.py", "parity.py", "randman.py"]
