"""A stand-in for the Hugging Face Hub on this machine, which holds data sets, and a way to send the real libraries to it. For tests."""

import hashlib
import json
import os
import re
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loopback import running

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    "Answers for the repositories that its server holds: {name: {path: content}}."

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, code: int, content: object, head: bool = False, **headers):
        "Send bytes as they are, anything else as JSON."
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Length": len(body), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def entry(self, path: str, content: bytes) -> dict:
        "What the Hub says of a file."
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest()}

    def answer(self, head: bool = False):
        "Find the repository and what is asked of it."
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length", 0))
        asked = self.rfile.read(length).decode()
        match = re.match(r"/(?P<api>api/)?datasets/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info|resolve)/[^/]+)?(?:/(?P<rest>.*))?$", path)
        files = match and self.server.repositories.get(match["name"])
        if files is None:
            return self.reply(404, {"error": "Repository not found"}, head, X_Error_Code="RepoNotFound")
        rest = match["rest"] or ""
        if match["what"] == "resolve":
            if rest not in files:
                return self.reply(404, {"error": "Entry not found"}, head, X_Error_Code="EntryNotFound")
            return self.reply(200, files[rest], head, ETag=f'"{self.entry(rest, files[rest])["oid"]}"')
        if match["what"] == "paths-info":
            wanted = json.loads(asked)["paths"] if asked.startswith("{") else re.findall(r"paths=([^&]+)", asked)
            return self.reply(200, [self.entry(path, files[path]) for path in map(unquote, wanted) if path in files], head)
        if match["what"] == "tree":
            inside = {path: content for path, content in files.items() if path.startswith(rest + "/" if rest else "")}
            folders = sorted({path[: path.index("/", len(rest) + 1 if rest else 0)] for path in inside if "/" in path[len(rest) + 1 if rest else 0:]})
            here = [{"type": "directory", "path": folder, "size": 0, "oid": COMMIT} for folder in folders]
            return self.reply(200, here + [self.entry(path, content) for path, content in inside.items() if "recursive=True" in self.path or "/" not in path[len(rest) + 1 if rest else 0:]], head)
        siblings = [{"rfilename": path} for path in files]
        self.reply(200, {"_id": "1", "id": match["name"], "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}, head)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_HEAD(self):
        self.answer(head=True)


@contextmanager
def hub(repositories: dict[str, dict[str, bytes]]):
    "A running stand-in that holds these data sets; `seen` lists its requests."
    with running(Hub, repositories=repositories) as server:
        yield server


def environment(home: str | Path, port: int, **changes: str) -> dict[str, str]:
    "Variables that send the Hub's own libraries to a port of this machine, with an empty cache."
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()}
    return env | {"HOME": str(home), "HF_HOME": f"{home}/hub", "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
                  "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"} | changes
