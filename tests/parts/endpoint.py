"""A chat endpoint on loopback that does what a script says of a request: answers, or fails in one of many ways."""

import contextlib
import http.server
import json
import threading
import time
from typing import Any, NamedTuple


class Does(NamedTuple):
  """What is done: a status, headers, an answer with its end; `html`, `half` and `stall` are faults of the wire."""

  text: str = ""
  finish: str = "stop"
  status: int = 200
  headers: tuple[tuple[str, str], ...] = ()
  html: bool = False
  half: bool = False
  stall: float = 0.0


class Handler(http.server.BaseHTTPRequestHandler):
  """Asks `server.script` of each request: its body, and which try of the same question it is."""

  def do_POST(self):
    server: Any = self.server
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    asked = body.get("prompt") or body["messages"][-1]["content"]
    with server.lock:
      server.tries[asked] = server.tries.get(asked, 0) + 1
      server.count += 1
      does = server.script(asked, server.tries[asked], server.count)
    time.sleep(does.stall)
    choice = {"finish_reason": does.finish, "message": {"role": "assistant", "content": does.text}, "text": does.text}
    choices = [{**choice, "index": i} for i in range(body["n"])]
    usage = {"prompt_tokens": len(asked.split()), "completion_tokens": 5, "total_tokens": len(asked.split()) + 5}
    reply = (
      b"<html><body>Bad gateway</body></html>"
      if does.html
      else json.dumps({"choices": choices, "usage": usage}).encode()
    )
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
      self.send_response(does.status)
      for name, value in (*does.headers, ("Content-Length", str(len(reply)))):
        self.send_header(name, value)
      self.end_headers()
      self.wfile.write(reply[: len(reply) // 2] if does.half else reply)

  def log_message(self, *args):
    """Says nothing."""


@contextlib.contextmanager
def serving(script):
  """A server; its url is `url`, how often it was asked `count`."""
  server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  server.script, server.tries, server.count, server.lock = script, {}, 0, threading.Lock()
  server.url = f"http://127.0.0.1:{server.server_port}/v1"
  threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()
