"""The workers run in environments of their own: pytest must not import them for their doctests."""

collect_ignore = ["peers"]
