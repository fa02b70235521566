"""Run a stand-in for somebody's server on a free port of this machine. For tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def running(
    handler: type[BaseHTTPRequestHandler],  # what answers; it finds the server as `self.server`
    port: int = 0,  # a free one if 0
    **state,  # what the server holds, by name
) -> Iterator[ThreadingHTTPServer]:  # the server; `server_port` is its port, `seen` a list for its requests
    "Serve inside this context."
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads, server.block_on_close, server.seen = True, False, []
    for name, value in state.items():
        setattr(server, name, value)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
