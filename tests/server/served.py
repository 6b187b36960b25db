"""A `chorus serve` at a port of its own, for scripts that ask it."""
import atexit
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

TIMEOUT = 120  # seconds for a reply: a build with sanitizers takes its time


class Server:
    def __init__(self, chorus, model, *arguments):
        self.process = subprocess.Popen([chorus, "serve", "--model", model, "--port", "0", "--threads", "1", *arguments],
                                        stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)  # where the script ends by an exception
        self.log = ""
        while not (found := re.search(r"http://(?:[^\s/]*):(\d+)", self.log)):
            line = self.process.stderr.readline()
            if not line:
                sys.exit(f"the server ended: {self.log}")
            self.log += line
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None, headers={}, method=None):
        """Status and JSON (or text) of the reply. A dict is sent as JSON, a text as a form."""
        data, sent = None, dict(headers)
        if isinstance(body, dict):
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        elif body is not None:
            data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                status, text = reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
            self.retry = error.headers.get("Retry-After")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def raw(self, data, wait=True):
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as connection:
            connection.sendall(data)
            if not wait:
                return b""
            reply = b""
            while chunk := connection.recv(65536):
                reply += chunk
            return reply

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.log += self.process.stderr.read()
        return code
