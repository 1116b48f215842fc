"""A small server for one person on one machine: it reads run directories and never writes."""

import base64
from collections.abc import Sequence
import hashlib
from http import server as http_server
import importlib.resources
import json
from typing import Any
from urllib import parse

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run.dashboard import scan

_ITEMS = 50  # of evaluations, whose answers are shown


def serve(roots: Sequence[str], host: str, port: int) -> http_server.ThreadingHTTPServer:
  """A server that listens; `serve_forever` answers. Port 0 takes a free one. Raises InputError for a port in use."""
  names = {"localhost", "127.0.0.1", "[::1]", host}

  class Handler(_Handler):
    folders, hosts = tuple(roots), frozenset(names)

  try:
    return http_server.ThreadingHTTPServer((host, port), Handler)
  except OSError as e:
    raise errors.InputError(f"--host={host} --port={port}: {e.strerror}; give another port") from None


def page() -> tuple[str, str]:
  """(the page, the digest of its only script, which the page's policy allows)."""
  folder = importlib.resources.files("itune_jax.run.dashboard")
  script = (folder / "dashboard.js").read_text(encoding="utf-8")
  html = (folder / "dashboard.html").read_text(encoding="utf-8").replace("/*SCRIPT*/", script)
  inside = html.split("<script>")[1].split("</script>")[0]
  return html, base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()


class _Handler(http_server.BaseHTTPRequestHandler):
  """GET alone. A run is named as `scan.runs` names it, so no path of a request is ever opened."""

  folders: tuple[str, ...] = ()
  hosts: frozenset[str] = frozenset()
  protocol_version = "HTTP/1.1"

  def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
    """Answers a page, or JSON; what is not there is 404 with its reason."""
    # A page of somebody else that resolves its own name to this machine must not read runs.
    if self.headers.get("Host", "").rsplit(":", 1)[0] not in self.hosts:
      return self._send(403, "text/plain", "this host is not served")
    url = parse.urlsplit(self.path)
    asked = dict(parse.parse_qsl(url.query))
    try:
      return self._answer(url.path, asked)
    except (errors.InputError, OSError) as e:  # a file may be gone since it was found
      return self._send(404, "text/plain", jsontext.line(str(e)))

  def _answer(self, path: str, asked: dict[str, str]) -> None:
    if path == "/":
      html, digest = page()
      policy = f"default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'sha256-{digest}'"
      return self._send(200, "text/html", html, policy)
    found = scan.runs(self.folders)
    if path == "/api/runs":
      return self._json([scan.overview(name, at) for name, at in found.items()])
    check.require(asked.get("run") in found, f"{asked.get('run', path)}: no such run or page")
    at = found[asked["run"]]
    if path == "/api/curves":
      return self._json(scan.curves(at))
    if path == "/api/answers":
      return self._json(scan.answers(at, _ITEMS))
    check.require(path == "/page", f"{path}: no such page")
    with files.opened(scan.page(at, asked.get("page", ""))) as f:
      return self._send(200, "text/html", f.read(), "")

  def _json(self, value: Any) -> None:
    self._send(200, "application/json", json.dumps(value))

  def _send(self, code: int, kind: str, text: str, policy: str = "default-src 'none'") -> None:
    data = text.encode()
    self.send_response(code)
    self.send_header("Content-Type", f"{kind}; charset=utf-8")
    self.send_header("Content-Length", str(len(data)))
    self.send_header("Cache-Control", "no-store")
    self.send_header("X-Content-Type-Options", "nosniff")
    if policy:
      self.send_header("Content-Security-Policy", policy)
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in http.server)
    """Says nothing: a line for each request would hide what matters."""
