"""The local cluster's readiness probe."""

import http.server
import threading

from localcluster.processes import free_port, probe


class NotReady(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b"not following Secrets")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_probe_tells_what_it_was_answered_or_that_nobody_answers() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), NotReady) as server:
        threading.Thread(target=server.handle_request).start()
        assert probe(f"http://127.0.0.1:{server.server_port}/readyz") == (503, "not following Secrets")
    status, reason = probe(f"http://127.0.0.1:{free_port()}")
    assert status == 0 and "refused" in reason
