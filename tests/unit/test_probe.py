"""The local cluster's readiness probe."""

import gc
import http.server
import threading
import warnings

from localcluster.processes import free_port, probe


class NotReady(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b"not following Secrets")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_probe_tells_what_it_was_answered_and_leaves_no_connection_open() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), NotReady) as server, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        said = probe(f"http://127.0.0.1:{server.server_port}/readyz")
        gc.collect()
        server.shutdown()
    assert said == (503, "not following Secrets")
    assert not warned
    assert probe(f"http://127.0.0.1:{free_port()}")[0] == 0
