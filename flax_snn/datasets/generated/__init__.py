"""Data sets that are computed: no file is read."""
