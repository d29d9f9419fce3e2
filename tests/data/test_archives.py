"""Downloads from a server of our own: they arrive whole and checked, or leave nothing behind."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sdnet_bench.data.archives import fetch_tar
from sdnet_bench.errors import DataError
from sdnet_bench.progress import Progress


def tar(**files: bytes) -> bytes:
    """A gzipped archive; `__` in a name is a slash."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


GOOD = tar(things__a=b"one", things__b=b"two")
ESCAPES = tar(**{"things__a": b"one", "..__escaped": b"two"})


class Server(HTTPServer):
    body = GOOD
    extra_length = 0
    """How many bytes more the header promises than come."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path != "/things.tar.gz":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body) + self.server.extra_length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, folder: Path, *, md5: str | None = None, path: str = "things.tar.gz") -> None:
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    fetch_tar(url, md5 or hashlib.md5(server.body).hexdigest(), folder, "things", Progress())


def test_a_good_archive_lands(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["things"]
    assert (tmp_path / "data/things/a").read_bytes() == b"one"
    assert (tmp_path / "data/things/b").read_bytes() == b"two"


def test_progress_counts_the_bytes(server: Server, tmp_path: Path, told: Progress) -> None:
    url = f"http://127.0.0.1:{server.server_port}/things.tar.gz"
    fetch_tar(url, hashlib.md5(GOOD).hexdigest(), tmp_path, "things", told)
    assert told.images == len(GOOD)  # type: ignore[attr-defined]


def test_a_folder_that_another_process_put_there_stays(server: Server, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    (tmp_path / "things/old").touch()
    fetch(server, tmp_path)
    assert sorted(path.name for path in (tmp_path / "things").iterdir()) == ["old"]


def assert_refused(server: Server, folder: Path, complaint: str, **request: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        fetch(server, folder, **request)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    assert not (folder.parent / "escaped").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_another_md5_is_refused(server: Server, data: Path) -> None:
    expected = "0" * 32
    assert_refused(server, data, rf"is damaged, expected md5 {expected}, got [0-9a-f]{{32}}", md5=expected)


def test_a_missing_file_is_one_line_with_advice(server: Server, data: Path) -> None:
    assert_refused(server, data, r"cannot download .*404.*--data-dir", path="nothing")


def test_no_server_is_one_line_with_advice(server: Server, data: Path) -> None:
    server.server_close()
    assert_refused(server, data, r"cannot download .*--data-dir")


def test_a_dropped_connection_is_noticed(server: Server, data: Path) -> None:
    server.body, server.extra_length = GOOD[:-20], 20
    assert_refused(server, data, "cannot download|is damaged", md5=hashlib.md5(GOOD).hexdigest())


def test_an_archive_that_reaches_outside_is_refused(server: Server, data: Path) -> None:
    server.body = ESCAPES
    assert_refused(server, data, "cannot unpack the archive")


def test_an_archive_without_the_folder_is_refused(server: Server, data: Path) -> None:
    server.body = tar(other__a=b"one")
    assert_refused(server, data, "the archive is not what it should be, expected a folder things")


def test_a_file_that_is_no_archive_is_refused(server: Server, data: Path) -> None:
    server.body = b"<html>Welcome to the hotel's network</html>"
    assert_refused(server, data, "cannot unpack the archive")


def test_a_failed_download_leaves_what_was_there(server: Server, data: Path) -> None:
    (data / "things").mkdir()
    (data / "things/old").touch()
    with pytest.raises(DataError):
        fetch(server, data, md5="0" * 32)
    assert (data / "things/old").exists()


def test_a_folder_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*--data-dir"):
        fetch(server, tmp_path / "file" / "data")
