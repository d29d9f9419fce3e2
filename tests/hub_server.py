"""A Hub on this machine that speaks as much of the real one's API as models need: information, files, commits.

Files of a safetensors kind are kept as LFS does: the Hub's answer points to a second host that has the bytes. What can
go wrong on the way is set in the attributes of `Hub`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repo:
    """Its files as they are after each commit, the latest last."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """A new state; its name is a digest, as git's are."""
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        sha = hashlib.sha1(content + str(len(self.commits)).encode()).hexdigest()
        self.commits[sha] = files
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]


@dataclass
class Hub:
    """What it holds, what it was asked, and what goes wrong on the way.

    Args:
        drops: of a file: how many bytes come before the line breaks, for one answer after the other.
        short: files of which the bytes end too early, as if that were all.
        full: there is no room for large files.
        resumed: the bytes from which on somebody asked for the rest of a file.
    """

    port: int = 0
    repos: dict[str, Repo] = field(default_factory=lambda: defaultdict(Repo))
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    drops: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    short: set[str] = field(default_factory=set)
    full: bool = False
    resumed: list[int] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        """The host of large files: another one, as far as a client can see."""
        return f"http://localhost:{self.port}"

    def publish(self, name: str, folder: Path, **changes: bytes | None) -> Repo:
        """Puts the files of a model folder into a repository; `changes` replaces or, by None, removes some."""
        kinds = {".json", ".md", ".toml", ".safetensors"}
        files: dict[str, bytes | None] = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in kinds}
        self.repos[name].commit({key: data for key, data in (files | changes).items() if data is not None})
        return self.repos[name]

    def times(self, method: str, file: str) -> int:
        """How often a file was asked for."""
        return sum(line.startswith(f"{method} ") and line.endswith(f"/{file}") for line in self.asked)


@contextmanager
def running() -> Iterator[Hub]:
    """A Hub that answers as long as the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _RefusedError(Exception):
    """An answer with an error's status and the Hub's own code for it."""

    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: `Hub.asked` has it."""

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = self._chunked() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        try:
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    return answer(self, body, **found.groupdict())
            raise _RefusedError(404)
        except _RefusedError as refusal:
            self._send(refusal.status, b"{}", {"X-Error-Code": refusal.code})

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str) -> Repo:
        if name not in self.hub.repos or (self.hub.repos[name].private and not self._is_known):
            raise _RefusedError(404 if self._is_known else 401, "RepoNotFound")
        return self.hub.repos[name]

    def _files(self, repo: Repo, revision: str | None) -> dict[str, bytes]:
        if revision not in (None, "main", *repo.commits):
            raise _RefusedError(404, "RevisionNotFound")
        return repo.commits.get(revision or "", repo.files)

    def _only_with_token(self) -> None:
        if not self._is_known:
            raise _RefusedError(401)

    def inform(self, _: bytes, name: str, revision: str | None = None) -> None:
        """What there is to know of a repository."""
        repo = self._repo(name)
        files = self._files(repo, revision)
        sha = revision if revision in repo.commits else repo.head
        siblings = [{"rfilename": file, "size": len(data), "blobId": _blob(data)} for file, data in files.items()]
        self._json({"id": name, "sha": sha, "private": repo.private, "siblings": siblings})

    def resolve(self, _: bytes, name: str, revision: str, file: str) -> None:
        """A file, or where its bytes are."""
        repo = self._repo(name)
        if repo.gated and not self._is_known:
            raise _RefusedError(401, "GatedRepo")
        files = self._files(repo, revision)
        if file not in files:
            raise _RefusedError(404, "EntryNotFound")
        data, head = files[file], {"X-Repo-Commit": revision}
        if not file.endswith(".safetensors"):
            self._give(file, data, head | {"ETag": f'"{_blob(data)}"'})
        else:
            oid = _sha256(data)
            self.hub.stored[oid] = data
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", head | linked | {"Location": f"{self.hub.store}/store/{oid}/{file}"})

    def give(self, _: bytes, oid: str, file: str) -> None:
        """The bytes of a large file; the store of the real one would refuse a token."""
        if self.headers.get("Authorization"):
            raise _RefusedError(400)
        self._give(file, self.hub.stored[oid], {"ETag": f'"{oid}"'})

    def _give(self, file: str, data: bytes, headers: dict[str, str]) -> None:
        """All of it, or from the byte on that is asked for; or less, if that is what goes wrong."""
        data = data[: len(data) // 2] if file in self.hub.short and self.command == "GET" else data
        start = int(re.findall(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[0])
        drop = self.hub.drops[file].pop(0) if self.hub.drops[file] and self.command == "GET" else None
        headers = headers | {"Content-Length": str(len(data) - start), "Accept-Ranges": "bytes"}
        if start:
            self.hub.resumed.append(start)
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if start else 200, data[start:] if drop is None else data[start : start + drop], headers)
        self.close_connection = drop is not None

    def create(self, body: bytes) -> None:
        """A new repository."""
        self._only_with_token()
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            self._send(409, json.dumps({"url": f"{self.hub.endpoint}/{name}"}).encode(), {})
        else:
            self.hub.repos[name] = Repo(private=asked.get("visibility") == "private")
            self.hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
            self._json({"url": f"{self.hub.endpoint}/{name}"})

    def approve(self, _: bytes) -> None:
        """The front matter of any card."""
        self._json({"errors": [], "warnings": []})

    def sort(self, body: bytes, name: str) -> None:
        """Which files of a commit are large."""
        self._only_with_token()
        self._repo(name)
        modes = {True: "lfs", False: "regular"}
        files = [file["path"] for file in json.loads(body)["files"]]
        kinds = [{"path": p, "uploadMode": modes[p.endswith(".safetensors")], "shouldIgnore": False} for p in files]
        self._json({"files": kinds})

    def take_in(self, body: bytes, name: str) -> None:
        """Where large files go."""
        self._only_with_token()
        objects = json.loads(body)["objects"]
        for each in objects:
            upload, verify = f"{self.hub.store}/store/{each['oid']}", f"{self.hub.endpoint}/{name}/verify"
            each["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        self._json({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        """The bytes of a large file."""
        if self.hub.full:
            raise _RefusedError(403)
        if _sha256(body) != oid:
            raise _RefusedError(400)
        self.hub.stored[oid] = body
        self._send(200, b"", {})

    def verify(self, body: bytes, name: str) -> None:
        """Whether a large file has come."""
        asked = json.loads(body)
        if len(self.hub.stored.get(asked["oid"], b"")) != asked["size"]:
            raise _RefusedError(404)
        self._json({})

    def commit(self, body: bytes, name: str) -> None:
        """A new state of a repository."""
        self._only_with_token()
        repo = self._repo(name)
        files = dict(repo.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        self._json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    """git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


NAME = r"(?P<name>[^/]+/[^/]+)"
ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("GET",), rf"/api/models/{NAME}(/revision/(?P<revision>.+))?", _Handler.inform),
    (("GET", "HEAD"), rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", _Handler.resolve),
    (("GET", "HEAD"), r"/store/(?P<oid>\w+)/(?P<file>.+)", _Handler.give),
    (("POST",), r"/api/repos/create", _Handler.create),
    (("POST",), r"/api/validate-yaml", _Handler.approve),
    (("POST",), rf"/api/models/{NAME}/preupload/main", _Handler.sort),
    (("POST",), rf"/{NAME}\.git/info/lfs/objects/batch", _Handler.take_in),
    (("PUT",), r"/store/(?P<oid>\w+)", _Handler.put),
    (("POST",), rf"/{NAME}/verify", _Handler.verify),
    (("POST",), rf"/api/models/{NAME}/commit/main", _Handler.commit),
]
