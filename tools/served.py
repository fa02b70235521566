"""A small server in the manner of the OpenAI API, for tests: it answers by a language model, or in a broken way.

By hand: python tools/served.py FOLDER --port 8000
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from loopback import running

BROKEN = {  # name: status and text of every answer
    "no log-probabilities": (200, '{"choices": [{"text": "A", "logprobs": null, "message": {"content": "A"}}]}'),
    "no choices": (200, '{"object": "list"}'),
    "a web page": (200, "<html>Welcome to nginx</html>"),
    "half an answer": (200, '{"choices": [{"logprobs": {"top_log'),
    "a wrong key": (401, '{"error": {"message": "Incorrect API key provided: secret-of-mine."}}'),
    "no such model": (404, '{"error": {"message": "The model `tiny` does not exist."}}'),
    "too many log-probabilities": (
        400,
        '{"error": {"message": "Requested sample logprobs of 20, which is greater than max allowed: 5"}}',
    ),
    "always busy": (503, "overloaded"),
    "elsewhere": (307, ""),
    "not a number": (
        200,
        '{"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": NaN}]}], '
        '"top_logprobs": [{"A": NaN}]}}]}',
    ),
}


class Handler(BaseHTTPRequestHandler):
    "Answers POSTs to /v1/completions and /v1/chat/completions."

    def log_message(self, *args):
        pass

    def do_POST(self):
        server, asked = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **asked})
            fails, server.fails = server.fails > 0, server.fails - 1
        if fails:
            return self._send(503, "busy", {"Retry-After": "0"})
        if server.broken == "hangs up":
            return self.connection.close()
        if server.broken == "sleeps":
            return server.stop.wait(30)
        if server.broken:
            status, text = BROKEN[server.broken]
            return self._send(status, text, {"Location": "http://127.0.0.1:9/elsewhere"} if status == 307 else {})
        with server.lock:
            found = server.answer(asked, chat=self.path.endswith("/chat/completions"))
        self._send(200, json.dumps(found))

    def _send(self, status: int, text: str, headers: dict = {}):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # who asked is gone
            self.wfile.write(text.encode())


def answers(
    lm: object,  # a `LanguageModel`
) -> object:  # a function from a request to its answer
    "Answer with the most probable next tokens, as vLLM does."
    import torch

    def answer(asked: dict, chat: bool) -> dict:
        if chat:
            text = lm.tokenizer.apply_chat_template(asked["messages"], tokenize=False, add_generation_prompt=True)
            tokens = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            tokens = lm.tokenizer(asked["prompt"])["input_ids"]
        with torch.inference_mode():
            top = (
                lm.model(input_ids=torch.tensor([tokens]))
                .logits[0, -1]
                .float()
                .log_softmax(-1)
                .topk(asked["top_logprobs"] if chat else asked["logprobs"])
            )
        pairs = [
            (lm.tokenizer.decode([token]), value) for token, value in zip(top.indices.tolist(), top.values.tolist())
        ]
        best = pairs[0][0]
        if chat:
            content = [
                {
                    "token": best,
                    "logprob": pairs[0][1],
                    "top_logprobs": [{"token": token, "logprob": value} for token, value in pairs],
                }
            ]
            return {
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": best}, "logprobs": {"content": content}}
                ]
            }
        return {
            "choices": [
                {
                    "index": 0,
                    "text": best,
                    "logprobs": {
                        "tokens": [best],
                        "token_logprobs": [pairs[0][1]],
                        "top_logprobs": [dict(reversed(pairs))],
                    },
                }
            ]
        }

    return answer


@contextmanager
def serving(
    lm: object = None,  # a `LanguageModel` to answer with
    broken: str | None = None,  # a name in `BROKEN`, 'hangs up' or 'sleeps'
    fails: int = 0,  # how many requests are refused as too many before the first is answered
    port: int = 0,  # a free one if 0
    answer: Callable | None = None,  # what to answer with instead, a function as `answers` gives it
) -> Iterator[ThreadingHTTPServer]:  # the server, with `url`, and with what it has seen in `seen`
    "Serve inside this context."
    state = {"lock": threading.Lock(), "broken": broken, "fails": fails, "stop": threading.Event()}
    with running(Handler, port, answer=answers(lm) if lm is not None else answer, **state) as server:
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield server
        finally:
            server.stop.set()


if __name__ == "__main__":
    import argparse

    from sciexam.language_models import load_language_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    with serving(load_language_model(given.folder), port=given.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()
