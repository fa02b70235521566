"""A stand-in for Kaggle's server on this machine, with good and bad days, and a way to send the real client to it. For tests."""

import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import running

PLANTED = {"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": "planted-key-0123456789"}
TRAIN = "id,prompt,A,B,answer\n" + "".join(f"{i},Which is number {i}?,this,that,A\n" for i in range(2000))
STATUS = {"refused": 401, "rules": 403, "unknown": 404, "broken": 500, "busy": 429, "closed": 429}
FORBIDDEN = {"gone": range(1000), "expired": {0}, "expires": {1, 2}}  # which requests to the storage get a page that says 'expired'


def zipped(members: dict[str, str | bytes], link: str = "") -> bytes:
    "A zip of `members`; the one named `link` is marked as a symbolic link."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFLNK if name == link else stat.S_IFREG) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


ARCHIVES = {
    "outside": zipped({"train.csv": TRAIN, "../evil.csv": "x"}), "absolute": zipped({"/tmp/evil.csv": "x"}),  # nosec B108: a member's name, which must be refused
    "link": zipped({"train.csv": "/etc/passwd"}, link="train.csv"), "bomb": zipped({"train.csv": bytes(20_000_000)}),
} | {name: zipped({"train.csv": TRAIN, "noise": os.urandom(3_000_000)}) for name in ("large", "slow", "stalled", "cut", "cuts", "expires")}
GOOD = zipped({"train.csv": TRAIN})


class Kaggle(BaseHTTPRequestHandler):
    "Answers as the name of the competition or the data set says; any other name gets a good archive."

    def log_message(self, *args):
        pass

    def reply(self, code: int, body: bytes = b"{}", sent: int | None = None, **headers):
        "Send an answer, or only the first `sent` bytes of it."
        self.send_response(code)
        for key, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()

    def note(self, name: str) -> int:
        "Note a request; how often it was made before."
        self.server.seen.append(f"{self.command} {name} {self.headers.get('Range', '')}".strip())
        self.server.counts[self.command, name] += 1
        return self.server.counts[self.command, name] - 1

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        name = asked.get("competitionName") or asked.get("datasetSlug", "")
        before = self.note(name)
        if not self.path.endswith(("DownloadDataFiles", "DownloadDataset")):
            return self.reply(401)
        if name == "silent":
            time.sleep(60)
        if name in STATUS and not (name == "busy" and before):
            return self.reply(STATUS[name], Retry_After=3600 if name == "closed" else 1)
        self.reply(302, Location=f"http://localhost/store/{name}.zip")

    def do_GET(self):
        name = self.path.rsplit("/")[-1].removesuffix(".zip")
        before, body, start = self.note(name), ARCHIVES.get(name, GOOD), 0
        common = dict(Last_Modified="Tue, 11 Jul 2023 00:00:00 GMT", ETag='"x"', Accept_Ranges="bytes")
        if before in FORBIDDEN.get(name, ()):
            return self.reply(403, b"<Error>expired</Error>")
        if name == "page":
            return self.reply(200, b"<html>sorry</html>")
        if name == "flipped" and not before:
            body = body[:200] + bytes(byte ^ 255 for byte in body[200:260]) + body[260:]
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            common["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        sent = len(body) // 2 if name == "stalled" or (name in ("cut", "expires") and not before) or name == "cuts" else None
        sent = 0 if name == "cuts" and before else sent
        if name == "slow":
            self.reply(206 if start else 200, body[start:], 0, **common)
            for at in range(start, len(body), 50_000):
                time.sleep(.05)
                self.wfile.write(body[at:at + 50_000])
        else:
            self.reply(206 if start else 200, body[start:], sent, **common)
        if name == "stalled":
            time.sleep(60)
        self.close_connection = True


@contextmanager
def kaggle():
    "A running stand-in; `seen` lists its requests."
    with running(Kaggle, counts=Counter(), handle_error=lambda *args: None) as server:  # clients hang up, that is the point
        yield server


def environment(home: str | Path, port: int, **changes: str) -> dict[str, str]:
    "Variables that send Kaggle's own client, with planted credentials, to a port of this machine."
    env = {name: value for name, value in os.environ.items() if "KAGGLE" not in name and "proxy" not in name.lower()}
    return env | PLANTED | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
                            "http_proxy": f"http://127.0.0.1:{port}", "no_proxy": ""} | changes


def start(competition: str, dest: str | Path, home: str | Path, port: int, *options: str, before: str = "", **changes: str) -> subprocess.Popen:
    "Start the command `sciexam_download` in a process of its own, `before` being code to run first."
    script = Path(home) / ".bin" / "sciexam_download"  # a command goes by the name of its file
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"import sys\n{before}\nfrom sciexam.download import sciexam_download\nsciexam_download()\n", encoding="utf-8")
    arguments = [sys.executable, str(script), "--competition", competition, "--dest", str(dest), *options]
    return subprocess.Popen(arguments, cwd=home, env=environment(home, port, **changes), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # nosec B603: no shell, and the arguments are the tests' own


def attempt(competition: str, port: int, *options: str, **changes: str) -> tuple[int, str, list[str]]:
    "Run the command in a home of its own: its status, what it printed, and the files it left."
    with tempfile.TemporaryDirectory() as home:
        run = start(competition, f"{home}/files", home, port, *options, **changes)
        printed = run.communicate(timeout=200)[0].strip().replace(home, "")
        left = sorted(str(path.relative_to(home)) for path in Path(home).rglob("*") if path.is_file() and path.parent.name != ".bin" and path.suffix != ".lock")
        return run.returncode, printed, left
