"""What NumPy and Python raise at an .npz archive that is cut, damaged or of another kind."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

UNREADABLE_NPZ = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    SyntaxError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Classes of errors; the headers of arrays are literals of Python, and members may be encrypted."""
