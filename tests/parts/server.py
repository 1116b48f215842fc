"""A chat endpoint on loopback that answers, fails, stalls, rate-limits or sends rubbish, as a script says."""

import contextlib
import http.server
import json
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers with what `server.script` says of this request and this try."""

  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    name = body["messages"][-1]["content"]
    with self.server.lock:
      tries = self.server.tries[name] = self.server.tries.get(name, 0) + 1
      self.server.bodies.append((body, dict(self.headers)))
    fault = self.server.script(name, tries)
    if fault == "stall":
      time.sleep(3)
    status = fault if isinstance(fault, int) else 200
    choices = [
      {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": f"{name} {i}"}}
      for i in range(body["n"])
    ]
    reply = json.dumps({"choices": choices[::-1]})
    if isinstance(fault, dict):  # what is said in place of the echo, likeliest tokens with it, and what it cost
      said = {"role": "assistant", "content": fault["content"]}
      top = [{"token": token, "logprob": logprob} for token, logprob in fault.get("top", ())]
      place = {"token": fault["content"], "logprob": 0.0, "top_logprobs": top}
      choice = {
        "index": 0,
        "finish_reason": fault.get("finish", "stop"),
        "message": said,
        "logprobs": {"content": [place]},
      }
      reply = json.dumps({"choices": [choice], "usage": {"total_tokens": fault.get("tokens", 1)}})
    if fault == "rubbish":
      reply = "<html>busy</html>"
    elif fault == "empty":
      reply = json.dumps({"choices": []})
    elif fault == "null":
      reply = json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "stop"}] * body["n"]})
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
      self.send_response(status)
      if status == 429:
        self.send_header("Retry-After", "0")
      self.end_headers()
      self.wfile.write(reply.encode()[: 10 if fault == "cut" else None])

  def log_message(self, *args):
    """Says nothing."""


@contextlib.contextmanager
def serving(script=lambda name, tries: None):
  """A server; its url is `url`, what it was asked `bodies`."""
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  server.script, server.tries, server.bodies, server.lock = script, {}, [], threading.Lock()
  server.url = f"http://127.0.0.1:{server.server_port}/v1"
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()
