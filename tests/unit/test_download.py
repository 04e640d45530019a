"""Tests of the download, against a server on this machine."""

import functools
import http.server
import io
import json
import socket
import stat
import threading
import zipfile

import numpy as np
import pytest

from speechbrain_lmac.data import download
from speechbrain_lmac.data.download import download_esc50
from speechbrain_lmac.utils.checks import UserError

# Does not compress, so that the archive is larger than a few packets.
CLIP = np.random.default_rng(0).bytes(400_000)


def archive(root="ESC-50-master/", clip=CLIP, extra=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"{root}meta/esc50.csv", "filename\n")
        file.writestr(f"{root}audio/a.wav", clip)
        if extra is not None:
            file.writestr(extra, "x")
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; what goes wrong is set by a test."""

    content = b""
    ranges = True  # whether it continues downloads
    lengths = True  # whether it says how long the content is
    breaks = 0  # how often the connection breaks half way
    status = 200
    tag = '"1"'

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/master.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append(asked)
        start = 0
        if server.status != 200:
            return self.send_error(server.status)
        fits = self.headers.get("If-Range", server.tag) == server.tag
        if asked and server.ranges and fits:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{total - 1}/{total}"
            )
        if server.tag:
            self.send_header("ETag", server.tag)
        body = server.content[start:]
        if server.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None


@pytest.fixture
def server():
    server = Server()
    server.content = archive()
    thread = threading.Thread(
        target=functools.partial(server.serve_forever, poll_interval=0.01)
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def assert_done(folder, clip=CLIP):
    assert (folder / "audio" / "a.wav").read_bytes() == clip
    assert (folder / "meta" / "esc50.csv").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_download(server, tmp_path, capfd):
    assert download_esc50(tmp_path / "data", server.url) == tmp_path / "data"
    assert_done(tmp_path / "data")
    assert "downloading" in capfd.readouterr().err
    assert server.requests == [None]


def test_into_an_empty_folder_and_missing_parents(server, tmp_path):
    (tmp_path / "data").mkdir()
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")
    download_esc50(tmp_path / "a" / "b", server.url)
    assert_done(tmp_path / "a" / "b")


def test_archive_without_a_root_folder(server, tmp_path):
    server.content = archive(root="")
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', ""])
def test_broken_connection_is_continued(server, tmp_path, ranges, tag):
    server.ranges, server.tag, server.breaks = ranges, tag, 1
    if tag != '"1"':  # weak tags are not sent back
        server.tag = tag
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")
    first, second = server.requests
    assert first is None and 0 < int(second[6:-1]) < len(server.content)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_next_call_continues(server, tmp_path, ranges, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.ranges, server.breaks = ranges, 1
    with pytest.raises(UserError, match="--data_folder") as caught:
        download_esc50(tmp_path / "data", server.url)
    assert server.url in str(caught.value)
    assert not (tmp_path / "data").exists()
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")
    assert server.requests[1] is not None


def test_part_of_an_older_archive_is_dropped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    for tag in ('"2"', ""):  # with and without a tag that tells the versions
        server.content, server.breaks = archive(clip=bytes(300_000)), 1
        server.tag = '"1"' if tag else ""
        target = tmp_path / f"data{len(tag)}"
        with pytest.raises(UserError):
            download_esc50(target, server.url)
        server.content, server.tag = archive(), tag
        monkeypatch.setattr(download, "ATTEMPTS", 3)
        download_esc50(target, server.url)
        assert (target / "audio" / "a.wav").read_bytes() == CLIP
        monkeypatch.setattr(download, "ATTEMPTS", 1)


@pytest.mark.parametrize("complete", [True, False])
def test_inconsistent_part_is_dropped(server, tmp_path, complete):
    work = tmp_path / ".data.download"
    work.mkdir()
    size = len(server.content) if complete else 1000
    (work / "archive.zip.part").write_bytes(b"x" * size)
    known = {"url": server.url, "tag": '"1"', "total": len(server.content)}
    (work / "archive.json").write_text(json.dumps(known))
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")


@pytest.mark.parametrize("size", [10**6, 10])
def test_part_of_an_unknown_origin_is_dropped(server, tmp_path, size):
    work = tmp_path / ".data.download"
    work.mkdir()
    (work / "archive.zip.part").write_bytes(b"x" * size)
    (work / "archive.json").write_text("[not json")
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")
    assert server.requests == [None]


def test_too_long_part_is_dropped(server, tmp_path):
    work = tmp_path / ".data.download"
    work.mkdir()
    (work / "archive.zip.part").write_bytes(b"x" * 10**6)
    known = {"url": server.url, "tag": '"1"', "total": None}
    (work / "archive.json").write_text(json.dumps(known))
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")


def test_finished_part_is_not_downloaded_again(server, tmp_path):
    work = tmp_path / ".data.download"
    work.mkdir()
    (work / "archive.zip.part").write_bytes(server.content)
    known = {"url": server.url, "tag": '"1"', "total": len(server.content)}
    (work / "archive.json").write_text(json.dumps(known))
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")
    assert server.requests == []


def test_silent_interruption_is_noticed(server, tmp_path):
    server.lengths, server.breaks = False, 1
    with pytest.raises(UserError, match="not a whole zip"):
        download_esc50(tmp_path / "data", server.url)
    assert not (tmp_path / "data").exists()
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")


@pytest.mark.parametrize("damage", ["flipped", "html"])
def test_corrupt_archive(server, tmp_path, damage):
    content = bytearray(server.content)
    content[len(content) // 2] ^= 1
    server.content = bytes(content) if damage == "flipped" else b"<html>" * 99
    with pytest.raises(UserError, match="not a whole zip archive"):
        download_esc50(tmp_path / "data", server.url)
    assert not (tmp_path / "data").exists()
    server.content = archive()
    download_esc50(tmp_path / "data", server.url)
    assert_done(tmp_path / "data")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\e"])
def test_unsafe_archive(server, tmp_path, name):
    server.content = archive(extra=name)
    with pytest.raises(UserError, match="unsafe entry"):
        download_esc50(tmp_path / "in" / "data", server.url)
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_archive_with_a_link(server, tmp_path):
    link = zipfile.ZipInfo("ESC-50-master/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    server.content = archive(extra=link)
    with pytest.raises(UserError, match="unsafe entry"):
        download_esc50(tmp_path / "data", server.url)
    assert not list(tmp_path.iterdir())


def test_archive_of_something_else(server, tmp_path):
    server.content = archive(root="too/deep/")
    with pytest.raises(UserError, match="meta/esc50.csv"):
        download_esc50(tmp_path / "data", server.url)
    assert not list(tmp_path.iterdir())


def test_no_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/master.zip"
    with pytest.raises(UserError, match="--data_folder") as caught:
        download_esc50(tmp_path / "data", url)
    assert url in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_not_found(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match="404"):
        download_esc50(tmp_path / "data", server.url)


def test_existing_folder_is_not_touched(server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("data", "file"):
        with pytest.raises(UserError, match="it is left as it is"):
            download_esc50(tmp_path / name, server.url)
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"
    assert server.requests == []


def test_no_permission(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        download_esc50(tmp_path / "file" / "data", server.url)
