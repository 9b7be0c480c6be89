"""A host's metadata service, at its own address on that host: EC2's (IMDSv2) and Google Cloud's, for one notice.

Run by itself: ``python metadata.py FILE``. There is no notice while there is no file; its text is the time of the end.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ADDRESS = "169.254.169.254"


def service(file: Path, address: str = ADDRESS, port: int = 80) -> Any:
    """A server whose ``asked`` are the requests that it had, and ``tokens`` those that it takes."""

    class Answers(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if self.path != "/latest/api/token" or not seconds.isdecimal() or not 1 <= int(seconds) <= 21600:
                return self.answer(400)
            server.tokens.add(token := secrets.token_urlsafe(40))
            return self.answer(200, token)

        def do_GET(self) -> None:
            server.asked.append(self.path)
            if self.path.startswith("/computeMetadata/v1/"):
                if self.headers.get("Metadata-Flavor") != "Google":
                    return self.answer(403)
                return self.answer(200, "TRUE" if file.exists() else "FALSE")
            if self.headers.get("X-aws-ec2-metadata-token") not in server.tokens:
                return self.answer(401)
            if self.path != "/latest/meta-data/spot/instance-action" or not file.exists():
                return self.answer(404)
            return self.answer(200, f'{{"action": "terminate", "time": "{file.read_text().strip()}"}}')

        def answer(self, code: int, text: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words: Any) -> None:
            """In silence."""

    server: Any = ThreadingHTTPServer((address, port), Answers)
    server.asked, server.tokens = [], set()
    return server


if __name__ == "__main__":
    subprocess.run(["ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    service(Path(sys.argv[1])).serve_forever()
