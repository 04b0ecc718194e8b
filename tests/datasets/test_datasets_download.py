"""Downloads from a server on this machine: checked, whole or not at all, and never unasked."""

import errno
import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flax_snn import datasets
from flax_snn.datasets.recorded import download
from flax_snn.datasets.recorded.download import Remote, fetch, present

CONTENT = bytes(range(256)) * 40


def packed(**files: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return memory.getvalue()


ARCHIVE = packed(**{"set__spikes.h5": CONTENT, "readme": b"read"})
PAGES = {"/spikes.h5.zip": ARCHIVE, "/plain.gz": CONTENT, "/other.zip": packed(nothing=b"here")}


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = PAGES.get(self.path.removeprefix("/cut"))
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/cut") else content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def remote(address: str, path: str, content: bytes | None = None, archive: str = "") -> Remote:
    found = PAGES.get(path.removeprefix("/cut"), b"") if content is None else content
    digest = hashlib.md5(found, usedforsecurity=False).hexdigest()
    name = archive or path.rsplit("/", 1)[-1]
    return Remote(name, address + path, "https://page.example", digest)


def test_an_archive_is_checked_and_unpacked(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = fetch(remote(address, "/spikes.h5.zip"), folder, "spikes.h5")
    assert Path(path).read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["spikes.h5", "spikes.h5.zip"]


def test_a_file_needs_no_unpacking(address: str, tmp_path: Path) -> None:
    path = fetch(remote(address, "/plain.gz"), tmp_path, "plain.gz")
    assert Path(path).read_bytes() == CONTENT and os.listdir(tmp_path) == ["plain.gz"]


def test_an_archive_put_there_by_hand_is_used(tmp_path: Path) -> None:
    (tmp_path / "spikes.h5.zip").write_bytes(ARCHIVE)
    nowhere = remote("http://127.0.0.1:9", "/spikes.h5.zip")
    assert Path(fetch(nowhere, tmp_path, "spikes.h5")).read_bytes() == CONTENT
    (tmp_path / "spikes.h5").unlink()
    (tmp_path / "spikes.h5.zip").write_bytes(ARCHIVE[:-5])
    with pytest.raises(ValueError, match=r"spikes\.h5\.zip: expected MD5 sum \w{32}.*got \w{32}"):
        fetch(nowhere, tmp_path, "spikes.h5")


@pytest.mark.parametrize(
    ("path", "content", "kind", "reason"),
    [
        ("/spikes.h5.zip", b"else", ValueError, r"expected MD5 sum \w{32} of spikes"),
        ("/absent.zip", None, ConnectionError, "HTTPError: Not Found"),
        (
            "/cut/spikes.h5.zip",
            None,
            ConnectionError,
            r"IncompleteRead.*download spikes.h5.zip \(MD5",
        ),
        (
            "/other.zip",
            None,
            ValueError,
            r"other.zip: expected spikes.h5 inside, got \['nothing'\]",
        ),
        ("/plain.gz", None, ValueError, "expected a zip archive"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(
    address: str, tmp_path: Path, path: str, content: bytes | None, kind: type, reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        fetch(remote(address, path, content), tmp_path, "spikes.h5")
    left = os.listdir(tmp_path)
    assert "spikes.h5" not in left and not [name for name in left if name.endswith(".part")]


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    source = remote("http://127.0.0.1:9", "/spikes.h5.zip", b"")
    with pytest.raises(ConnectionError) as caught:
        fetch(source, tmp_path, "spikes.h5")
    for part in ("spikes.h5.zip", "https://page.example", source.md5, str(tmp_path)):
        assert part in str(caught.value)
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 12})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="room on the disk for spikes.h5.zip, got 12 bytes") as caught:
        fetch(remote(address, "/spikes.h5.zip"), tmp_path, "spikes.h5")
    assert caught.value.errno == errno.ENOSPC and not os.listdir(tmp_path)


def test_only_the_web_is_asked(tmp_path: Path) -> None:
    (tmp_path / "secret.zip").write_bytes(ARCHIVE)
    source = Remote("copy.zip", (tmp_path / "secret.zip").as_uri(), "", "")
    with pytest.raises(ValueError, match="url: expected an http or https address"):
        fetch(source, tmp_path, "spikes.h5")


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (datasets.shd, ["shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb", "zenkelab.org"]),
        (datasets.ssc, ["ssc_train.h5.zip", "d102be95e7144fcc0553d1f45ba94170", "zenkelab.org"]),
        (datasets.NMNIST, ["train.zip", "20959b8e626244a1b502305a9e6e2031", "garrickorchard.com"]),
        (
            datasets.fashion_mnist,
            ["train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"],
        ),
        (datasets.DVSGesture, ["DvsGesture.tar.gz", "research.ibm.com"]),
        (lambda f: datasets.SpokenDigits(f / "none"), ["github.com/Jakobovski"]),
        (datasets.mnist, ["train-images-idx3-ubyte"]),
    ],
)
def test_a_missing_data_set_says_where_it_can_be_had(
    read: Any, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.urllib.request, "urlopen", None)  # Nothing is asked for.
    with pytest.raises(FileNotFoundError) as caught:
        read(tmp_path)
    for part in (*names, str(tmp_path)):
        assert part in str(caught.value)


def test_readers_download_when_asked(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = Path(__file__).parents[1] / "golden" / "datasets" / "shd_tiny.h5"
    monkeypatch.setitem(PAGES, "/shd_test.h5.zip", packed(**{"shd_test.h5": golden.read_bytes()}))
    home = remote(address, "/shd_test.h5.zip")
    monkeypatch.setitem(download.REMOTES, "shd_test.h5", home)
    assert len(datasets.shd(tmp_path, "test", download=True)) == 20
    assert present(tmp_path, "shd_test.h5") == str(tmp_path / "shd_test.h5")


def test_every_md5_sum_has_its_32_digits() -> None:
    for name, home in download.REMOTES.items():
        assert bool(home.url) == bool(home.md5), name
        assert not home.md5 or len(bytes.fromhex(home.md5)) == 16
        assert home.page.startswith("https://")
