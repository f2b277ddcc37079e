"""A Hub on 127.0.0.1: the routes that huggingface_hub uses for models, commits, large-file storage, and faults.

Two servers, as there are two in the world: the Hub (``endpoint``) and the storage that large files are put to and
redirected to, whose answers carry no Hub headers and which is sent no token. Everything is kept in memory.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""The tokens that this Hub knows."""


# -------------------------------------------------------------------------------------------------------- what it holds


@dataclass(frozen=True)
class Blob:
    """One version of a file; a large one is listed and linked by sha256, any other by its git hash."""

    data: bytes
    large: bool

    @cached_property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid


@dataclass
class Repo:
    """A model repository: commits in order, each a whole tree, and what names them."""

    private: bool = False
    gated: bool = False
    trees: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, tree: dict[str, Blob], branch: str = "main") -> str:
        stamp = f"{len(self.trees)} {branch} {sorted((path, blob.etag) for path, blob in tree.items())}"
        oid = hashlib.sha1(stamp.encode()).hexdigest()
        self.trees[oid], self.branches[branch] = tree, oid
        return oid

    def find(self, revision: str) -> str | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return oid if oid in self.trees else None

    @property
    def head(self) -> dict[str, Blob]:
        return self.trees[self.branches["main"]]


# --------------------------------------------------------------------------------------------------------------- faults


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose ``"METHOD path"`` fits the pattern.

    ``status``: that answer instead, with ``code`` as its X-Error-Code. ``headers``: these, too. ``change``: another
    body, under its own length. ``spoil``: the request's body arrives as this makes it. ``keep``: the connection ends
    after that many bytes of the body. ``delay``: seconds before the answer. ``drop``: the connection ends without one.
    ``lost``: so it does, after the work was done. ``die``: both servers are gone afterwards.
    """

    pattern: str
    times: int = 1
    status: int = 0
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    change: Callable[[bytes], bytes] | None = None
    spoil: Callable[[bytes], bytes] | None = None
    keep: int | None = None
    delay: float = 0
    drop: bool = False
    lost: bool = False
    die: bool = False


def flip(data: bytes) -> bytes:
    """One bit of the middle byte."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def halve(data: bytes) -> bytes:
    return data[: len(data) // 2]


# --------------------------------------------------------------------------------------------------------------- server


class LoopbackHub:
    """``with LoopbackHub() as hub``: ``hub.endpoint``, ``hub.repos``, and ``hub.log`` of ``"METHOD path"``."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.storage: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.tokens: list[str | None] = []
        self.lock = threading.RLock()
        self.servers = [_Server(("127.0.0.1", 0), handler) for handler in (_HubHandler, _StorageHandler)]
        for server in self.servers:
            server.hub = self
        self.endpoint, self.store = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    def __enter__(self) -> LoopbackHub:
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def add(self, repo_id: str, files: dict[str, bytes], *, private: bool = False, gated: bool = False) -> str:
        """A commit with exactly these files, as someone else would push it; returns its hash."""
        repo = self.repos.setdefault(repo_id, Repo(private, gated))
        return repo.commit({path: Blob(data, _is_large(path, data)) for path, data in files.items()})

    def fail(self, pattern: str, **what: Any) -> Fault:
        self.faults.append(Fault(pattern, **what))
        return self.faults[-1]

    def asked(self, pattern: str) -> int:
        """How many requests so far fit the pattern."""
        return sum(re.search(pattern, line) is not None for line in self.log)

    def fault(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: LoopbackHub

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        self.gone = self.stopped = False
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.shutdown()
            self.server_close()
        for request in list(self.open):  # connections that were kept alive
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class Answer(Exception):
    """Raised by a route to end it."""

    def __init__(self, status: int, body: bytes | object = b"", **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for the client's delayed acknowledgement
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        hub, line = self.server.hub, f"{self.command} {self.path}"
        if self.server.gone:
            return self._leave(False)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b"".join(iter(self._chunk, b""))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        with hub.lock:
            hub.log.append(line)
            hub.tokens.append(token)
        fault = hub.fault(line)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.drop or fault.die:
                return self._leave(fault.die)
            if fault.status:
                headers = {"X-Error-Code": fault.code} if fault.code else {}
                return self._send(Answer(fault.status, {"error": "a fault"}, **headers, **fault.headers))
            content = fault.spoil(content) if fault.spoil else content
        try:
            with hub.lock:
                self.route(urlsplit(self.path).path, content, token)
        except Answer as answer:
            if fault is not None and fault.lost:
                return self._leave(False)
            self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def route(self, path: str, content: bytes, token: str | None) -> None:
        raise NotImplementedError

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline().split(b";")[0], 16))
        self.rfile.readline()
        return data

    def _send(self, answer: Answer, fault: Fault | None = None) -> None:
        body = answer.body
        if fault is not None and fault.change is not None:
            body = fault.change(body)
        sent = body if fault is None or fault.keep is None else body[: fault.keep]
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(body)), **answer.headers, **(fault.headers if fault else {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
            if len(sent) < len(body):
                self._leave(fault is not None and fault.die)

    def _leave(self, die: bool) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        if die:
            for server in self.server.hub.servers:
                server.gone = True
            threading.Thread(target=self.server.hub.stop, daemon=True).start()


# --------------------------------------------------------------------------------------------------------------- routes


class _StorageHandler(_Handler):
    """Large files by hash; a GET may ask for the rest of one."""

    def route(self, path: str, content: bytes, token: str | None) -> None:
        assert token is None, "the storage is not the Hub: the token must not leave it"
        storage, oid = self.server.hub.storage, path.removeprefix("/")
        if self.command == "PUT":
            if hashlib.sha256(content).hexdigest() != oid:
                raise Answer(400, {"error": "the content does not have this hash"})
            storage[oid] = content
            raise Answer(200)
        if oid not in storage:
            raise Answer(404)
        data = storage[oid]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked is None:
            raise Answer(200, data)
        start = int(asked[1])
        raise Answer(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")


class _HubHandler(_Handler):
    """https://huggingface.co/docs/hub/api, as far as publishing and loading a model goes."""

    def route(self, path: str, content: bytes, token: str | None) -> None:
        if token not in (None, WRITER, READER):
            raise Answer(401, {"error": "Invalid credentials"}, X_Error_Message="Invalid credentials")
        for pattern, action in _ROUTES:
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                action(self, content, token, *map(unquote, found.groups()))
        raise Answer(404, {"error": f"no route {self.command} {path}"})

    def repo(self, repo_id: str, token: str | None, *, write: bool = False, files: bool = False) -> Repo:
        repo = self.server.hub.repos.get(repo_id)
        if repo is None or (repo.private and token is None):
            status = 401 if token is None else 404
            raise Answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if repo.gated and files and token != WRITER:
            status = 401 if token is None else 403
            raise Answer(status, {"error": "Access to this model is restricted"}, X_Error_Code="GatedRepo")
        if write and token != WRITER:
            raise Answer(403, {"error": "Forbidden"}, X_Error_Message="you need write access")
        return repo

    def commit(self, repo: Repo, revision: str) -> str:
        oid = repo.find(revision)
        if oid is None:
            raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return oid

    def create(self, content: bytes, token: str | None) -> None:
        asked = json.loads(content)
        repo_id = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.hub.endpoint}/{repo_id}"}
        if token is None:
            raise Answer(401, {"error": "Invalid username or password."})
        if token != WRITER or asked["organization"] == "others":
            raise Answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        if repo_id in self.server.hub.repos:
            raise Answer(409, {**url, "error": "You already created this model repo"})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.hub.add(repo_id, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        raise Answer(200, url)

    def info(self, content: bytes, token: str | None, repo_id: str, revision: str = "main") -> None:
        repo = self.repo(repo_id, token)
        oid = self.commit(repo, revision)
        siblings = [{"rfilename": path} for path in repo.trees[oid]]
        raise Answer(200, {"id": repo_id, "sha": oid, "private": repo.private, "tags": [], "siblings": siblings})

    def tree(self, content: bytes, token: str | None, repo_id: str, revision: str) -> None:
        repo = self.repo(repo_id, token, files=True)
        listed = repo.trees[self.commit(repo, revision)].items()
        raise Answer(200, [_listed(path, blob) for path, blob in listed if "/" not in path])

    def refs(self, content: bytes, token: str | None, repo_id: str) -> None:
        repo = self.repo(repo_id, token)
        branches, tags = (
            [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in refs.items()]
            for kind, refs in (("heads", repo.branches), ("tags", repo.tags))
        )
        raise Answer(200, {"branches": branches, "tags": tags, "converts": []})

    def preupload(self, content: bytes, token: str | None, repo_id: str, revision: str) -> None:
        repo, modes = self.repo(repo_id, token, write=True), []
        tree = repo.trees[self.commit(repo, revision)]
        for file in json.loads(content)["files"]:
            large = _is_large(file["path"], base64.b64decode(file["sample"]), file["size"])
            mode = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            modes.append({**mode, "oid": tree[file["path"]].etag} if file["path"] in tree else mode)
        raise Answer(200, {"files": modes})

    def batch(self, content: bytes, token: str | None, repo_id: str) -> None:
        self.repo(repo_id, token, write=True)
        hub, objects = self.server.hub, []
        for one in json.loads(content)["objects"]:
            upload = {"upload": {"href": f"{hub.store}/{one['oid']}"}}
            objects.append(one if one["oid"] in hub.storage else {**one, "actions": upload})
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def receive(self, content: bytes, token: str | None, repo_id: str, revision: str) -> None:
        repo = self.repo(repo_id, token, write=True)
        lines = [json.loads(line) for line in content.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent is not None and parent != repo.branches[revision]:
            raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        tree = dict(repo.trees[repo.branches[revision]])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.hub.storage:
                    raise Answer(400, {"error": f"LFS object {value['oid']} was never uploaded"})
                tree[value["path"]] = Blob(self.server.hub.storage[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
        oid = repo.commit(tree, revision)
        raise Answer(200, {"commitUrl": f"{self.server.hub.endpoint}/{repo_id}/commit/{oid}", "commitOid": oid})

    def tag(self, content: bytes, token: str | None, repo_id: str, revision: str) -> None:
        repo, name = self.repo(repo_id, token, write=True), json.loads(content)["tag"]
        if name in repo.tags:
            raise Answer(409, {"error": f"Tag reference exists already: {name}"})
        repo.tags[name] = self.commit(repo, revision)
        raise Answer(200)

    def resolve(self, content: bytes, token: str | None, repo_id: str, revision: str, path: str) -> None:
        repo = self.repo(repo_id, token, files=True)
        oid = self.commit(repo, revision)
        headers = {"X_Repo_Commit": oid}
        blob = repo.trees[oid].get(path)
        if blob is None:
            raise Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", **headers)
        if not blob.large:
            raise Answer(200, blob.data, ETag=f'"{blob.etag}"', **headers)
        hub = self.server.hub
        hub.storage.setdefault(blob.sha256, blob.data)
        linked = {"X_Linked_Etag": f'"{blob.etag}"', "X_Linked_Size": str(len(blob.data))}
        raise Answer(302, ETag='"of-the-pointer"', Location=f"{hub.store}/{blob.sha256}", **linked, **headers)

    def validate(self, content: bytes, token: str | None) -> None:
        front = json.loads(content)["content"].startswith("---\n")
        errors = [] if front else [{"message": "no front matter"}]
        raise Answer(400 if errors else 200, {"errors": errors, "warnings": []})


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES: Iterable[tuple[str, Callable[..., None]]] = [
    ("POST /api/repos/create", _HubHandler.create),
    ("POST /api/validate-yaml", _HubHandler.validate),
    (f"GET /api/models/{_REPO}", _HubHandler.info),
    (f"GET /api/models/{_REPO}/revision/([^/]+)", _HubHandler.info),
    (f"GET /api/models/{_REPO}/tree/([^/]+)", _HubHandler.tree),
    (f"GET /api/models/{_REPO}/refs", _HubHandler.refs),
    (f"POST /api/models/{_REPO}/preupload/([^/]+)", _HubHandler.preupload),
    (f"POST /{_REPO}.git/info/lfs/objects/batch", _HubHandler.batch),
    (f"POST /api/models/{_REPO}/commit/([^/]+)", _HubHandler.receive),
    (f"POST /api/models/{_REPO}/tag/([^/]+)", _HubHandler.tag),
    (f"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)", _HubHandler.resolve),
]


def _is_large(path: str, data: bytes, size: int | None = None) -> bool:
    return path.endswith(".safetensors") or (len(data) if size is None else size) > 10 << 20 or b"\0" in data[:512]


def _listed(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
    if blob.large:  # the git hash of a large file is its pointer's; nobody may rely on it
        entry |= {"oid": "0" * 40, "lfs": {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}}
    return entry
