"""Fetches data sets from their public homes: checked before they are unpacked, whole or not at all.

A file is written under a temporary name, its MD5 sum compared with the published one, and only
then renamed; an archive is unpacked beside its destination and moved there at once. What breaks
off leaves nothing that a reader would take for data. Nothing is downloaded unless it is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from flax_snn import checks
from flax_snn.datasets.disk import disk_explained, is_full

_BLOCK = 1 << 20
_PATIENCE = 60.0  # seconds without a byte


class Remote(NamedTuple):
    """Where a file or folder of a data set can be had.

    Attributes:
      archive: name of the file that is downloaded.
      url: its address; empty for files that have to be downloaded by hand.
      page: page of the data set.
      md5: MD5 sum of the file; empty where none is published.
    """

    archive: str
    url: str
    page: str
    md5: str


_HEIDELBERG = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
_FASHION = "https://github.com/zalandoresearch/fashion-mnist"
_SACCADES = "https://www.garrickorchard.com/datasets/n-mnist"
_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
_GESTURE = "https://research.ibm.com/interactive/dvsgesture/"


def _spikes(name: str, md5: str) -> Remote:
    archive = f"{name}.zip"
    return Remote(archive, f"https://zenkelab.org/datasets/{archive}", _HEIDELBERG, md5)


def _clothes(name: str, md5: str) -> Remote:
    home = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    return Remote(name, f"{home}/{name}", _FASHION, md5)


REMOTES: dict[str, Remote] = {
    "shd_train.h5": _spikes("shd_train.h5", "f3252aeb598ac776c1b526422d90eecb"),
    "shd_test.h5": _spikes("shd_test.h5", "1503a5064faa34311c398fb0a1ed0a6f"),
    "ssc_train.h5": _spikes("ssc_train.h5", "d102be95e7144fcc0553d1f45ba94170"),
    "ssc_valid.h5": _spikes("ssc_valid.h5", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
    "ssc_test.h5": _spikes("ssc_test.h5", "a35ff1e9cffdd02a20eb850c17c37748"),
    "Train": Remote(
        "train.zip",
        f"{_MENDELEY}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
        _SACCADES,
        "20959b8e626244a1b502305a9e6e2031",
    ),
    "Test": Remote(
        "test.zip",
        f"{_MENDELEY}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
        _SACCADES,
        "69ca8762b2fe404d9b9bad1103e97832",
    ),
    "train-images-idx3-ubyte.gz": _clothes(
        "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    ),
    "train-labels-idx1-ubyte.gz": _clothes(
        "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"
    ),
    "t10k-images-idx3-ubyte.gz": _clothes(
        "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"
    ),
    "t10k-labels-idx1-ubyte.gz": _clothes(
        "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"
    ),
    "trials_to_train.txt": Remote("DvsGesture.tar.gz", "", _GESTURE, ""),
    "trials_to_test.txt": Remote("DvsGesture.tar.gz", "", _GESTURE, ""),
    "recordings": Remote(
        "free-spoken-digit-dataset",
        "",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "",
    ),
}
"""Home of each file or folder that a reader looks for."""


def present(folder: str | os.PathLike[str], name: str, *, download: bool = False) -> str:
    """Returns the path of a file or folder of a data set, which is there.

    Args:
      folder: where the data set lies.
      name: a key of `REMOTES`.
      download: fetch it if it is not there.

    Raises:
      FileNotFoundError: it is not there, and not to be downloaded; the text says where it can be
        had, its MD5 sum and where to put it.
      ConnectionError, OSError, ValueError: see `fetch`.
    """
    path = os.path.join(os.path.expanduser(os.fspath(folder)), name)
    if os.path.exists(path):
        return path
    if download:
        return fetch(REMOTES[name], folder, name)
    raise FileNotFoundError(missing(name, folder))


def missing(name: str, folder: str | os.PathLike[str]) -> str:
    """Returns the sentence that says where a file of `REMOTES` can be had."""
    return checks.error_text(
        os.path.join(os.fspath(folder), name), "it there", "nothing", _instruction(name, folder)
    )


def fetch(remote: Remote, folder: str | os.PathLike[str], name: str) -> str:
    """Downloads a file, checks its MD5 sum and unpacks it.

    An archive that lies in the folder already, put there by hand, is checked and unpacked instead.

    Args:
      remote: where it can be had.
      folder: where it goes; made if it is not there.
      name: name of the file or folder that is wanted, that of the archive or inside it.

    Returns:
      Path of what was wanted.

    Raises:
      ConnectionError: no network, no such address, or the transfer broke off.
      OSError: the disk is full, or the folder cannot be written.
      ValueError: it can only be downloaded by hand, the MD5 sum is another, or the archive does not
        hold what is wanted.
    """
    folder = os.path.expanduser(os.fspath(folder))
    wanted, archive = os.path.join(folder, name), os.path.join(folder, remote.archive)
    if not remote.url and not os.path.isfile(archive):
        raise ValueError(missing(name, folder))
    remedy = "make room, or choose another folder; nothing half-written was left"
    with disk_explained(folder, remote.archive, remedy):
        os.makedirs(folder, exist_ok=True)
        if os.path.isfile(archive):
            _verify(remote, _md5_of(archive), archive)
        else:
            _download(remote, archive)
        if archive != wanted:
            _unpack(remote, archive, wanted)
    return wanted


def _instruction(name: str, folder: str | os.PathLike[str], remote: Remote | None = None) -> str:
    remote = remote or REMOTES[name]
    md5 = f" (MD5 {remote.md5})" if remote.md5 else ""
    return (
        f"download {remote.archive}{md5} from {remote.page} into {os.fspath(folder)}"
        + ("" if remote.archive == name else " and unpack it")
        + (", or pass download=True" if remote.url and remote is REMOTES.get(name) else "")
    )


def _download(remote: Remote, archive: str) -> None:
    """Downloads an archive under a temporary name, checks it and gives it its name."""
    if urllib.parse.urlsplit(remote.url).scheme not in ("http", "https"):
        raise ValueError(checks.error_text("url", "an http or https address", remote.url))
    handle, part = tempfile.mkstemp(
        prefix=f"{remote.archive}.", suffix=".part", dir=os.path.dirname(archive)
    )
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                digest = _copy(remote, file, os.path.dirname(archive))
            except OSError as error:
                if is_full(error):
                    raise
                raise _no_connection(remote, archive, error) from error
            except http.client.HTTPException as error:
                raise _no_connection(remote, archive, error) from error
        _verify(remote, digest, remote.url)
        os.replace(part, archive)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _no_connection(remote: Remote, archive: str, error: Exception) -> ConnectionError:
    reason = getattr(error, "reason", None) or error
    return ConnectionError(
        checks.error_text(
            archive,
            f"an answer of {remote.url}",
            f"{type(error).__name__}: {reason}",
            _instruction(remote.archive, os.path.dirname(archive), remote),
        )
    )


def _copy(remote: Remote, file: IO[bytes], folder: str) -> str:
    """Copies the content of an address to a file, and returns its MD5 sum."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(remote.url, timeout=_PATIENCE) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        if size > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _progress(remote.archive, size) as advance:
            done = 0
            while block := answer.read(_BLOCK):
                file.write(block)
                digest.update(block)
                done += len(block)
                advance(len(block))
    if size and done != size:
        raise http.client.IncompleteRead(b"", size - done)
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(title: str, size: int) -> Iterator[Any]:
    """Yields what is to be called with the number of bytes done; shown on terminals only."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    hidden = not sys.stderr.isatty()
    with tqdm(
        total=size or None, desc=title, unit="B", unit_scale=True, disable=hidden
    ) as progress:
        yield progress.update


def _md5_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _verify(remote: Remote, found: str, where: str) -> None:
    if remote.md5 and found != remote.md5:
        raise ValueError(
            checks.error_text(
                where,
                f"MD5 sum {remote.md5} of {remote.archive}",
                found,
                f"delete it if it is a file, and try again, or see {remote.page}",
            )
        )


def _unpack(remote: Remote, archive: str, wanted: str) -> None:
    """Unpacks a zip archive beside its destination, and moves what is wanted there at once."""
    name = os.path.basename(wanted)
    folder = tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=os.path.dirname(wanted))
    try:
        try:
            with zipfile.ZipFile(archive) as packed:
                size = sum(member.file_size for member in packed.infolist())
                free = shutil.disk_usage(folder).free
                if size > free:
                    what = f"an archive whose files fit into the {free} bytes that are free"
                    raise ValueError(checks.error_text(archive, what, f"{size} bytes"))
                packed.extractall(folder)  # names that lead out of the folder are cut
        except zipfile.BadZipFile as error:
            raise ValueError(
                checks.error_text(archive, "a zip archive", error, "delete it and try again")
            ) from error
        found = _inside(folder, name)
        if found is None:
            raise ValueError(
                checks.error_text(
                    archive, f"{name} inside", sorted(os.listdir(folder)), f"see {remote.page}"
                )
            )
        os.replace(found, wanted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _inside(folder: str, name: str) -> str | None:
    """Returns the path of a file or folder of that name, wherever in the folder."""
    for root, folders, files in os.walk(folder):
        if name in files or name in folders:
            return os.path.join(root, name)
    return None
