"""The dashboard over run directories as they are: half-written lines, damaged runs, another page's requests."""

import json
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from itune_jax.core import errors
from itune_jax.run.dashboard import scan
from itune_jax.run.dashboard import server


def _run(folder, steps, loss=2.0, of=10):
  folder.mkdir(parents=True)
  lines = [{"step": k, "loss": loss / k, "trained_tokens_per_s": 5.0} for k in range(1, steps + 1)]
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  (folder / "run.json").write_text(json.dumps({"facts": {"steps": of, "trainable_parameters": 7}}))


@pytest.fixture
def runs(tmp_path):
  _run(tmp_path / "runs" / "a", 10)
  _run(tmp_path / "runs" / "sweep" / "b", 4)
  (tmp_path / "runs" / "sweep" / "b" / "owner.json").write_text("{}")
  rows = [{"id": "1", "prompt": "<b>two?</b>", "output": "2", "correct": True}]
  for label in ("before", "step_000010"):
    folder = tmp_path / "runs" / "a" / "evals" / label
    folder.mkdir(parents=True)
    (folder / "starter.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": "2", "pro')
  (tmp_path / "runs" / "a" / "report.html").write_text("<p>report</p>")
  return tmp_path / "runs"


@pytest.fixture
def get(runs):
  with server.serve([str(runs)], "127.0.0.1", 0) as listening:
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()

    def ask(path, **headers):
      url = f"http://127.0.0.1:{listening.server_address[1]}{path}"
      with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode(), answer.headers

    yield ask
    listening.shutdown()
    thread.join()


def test_runs_are_found_below_folders_with_what_they_do(get):
  told = {one["name"]: one for one in json.loads(get("/api/runs")[0])}
  assert {name: one["state"] for name, one in told.items()} == {"a": "done", "sweep/b": "training"}
  assert (told["a"]["step"], told["a"]["steps"], told["a"]["loss"], told["a"]["pages"]) == (10, 10, 0.2, ["report"])
  assert get("/page?run=a&page=report")[0] == "<p>report</p>"


def test_curves_and_answers_and_lines_that_are_being_written(get, runs):
  with open(runs / "sweep" / "b" / "metrics.jsonl", "a") as f:
    f.write('{"step": 5, "lo')
  points = json.loads(get("/api/curves?run=sweep%2Fb")[0])["loss"]
  assert points == [[k, 2.0 / k] for k in (1, 2, 3, 4)]
  (item,) = json.loads(get("/api/answers?run=a")[0])
  assert item["prompt"] == "<b>two?</b>" and [one["label"] for one in item["answers"]] == ["before", "step_000010"]


def test_a_damaged_run_is_told_beside_the_others(get, runs):
  _run(runs / "c", 2)
  (runs / "c" / "metrics.jsonl").write_text("[]\n")
  told = {one["name"]: one for one in json.loads(get("/api/runs")[0])}
  assert told["c"]["state"] == "damaged" and "metrics.jsonl:1" in told["c"]["error"] and told["a"]["state"] == "done"


def _refused(get, path, **headers):
  with pytest.raises(urllib.error.HTTPError) as e:
    get(path, **headers)
  e.value.close()
  return e.value.code


@pytest.mark.parametrize(
  ("path", "code"),
  [
    ("/api/curves?run=../../etc", 404),
    ("/page?run=a&page=../run.json", 404),
    ("/page?run=sweep%2Fb&page=report", 404),
    ("/etc/passwd", 404),
    ("/api/curves", 404),
  ],
)
def test_nothing_else_is_opened(get, path, code):
  assert _refused(get, path) == code


def test_a_page_elsewhere_cannot_read_runs_through_a_name_of_its_own(get):
  assert _refused(get, "/api/runs", Host="evil.example:80") == 403
  html, headers = get("/")
  assert "script-src 'sha256-" in headers["Content-Security-Policy"] and "http://" not in html.replace(
    "http://www.w3.org", ""
  )
  assert len(html) < 50_000


def test_a_long_curve_keeps_its_ends(tmp_path):
  _run(tmp_path / "long", 5000)
  points = scan.curves(str(tmp_path / "long"))["loss"]
  assert len(points) == 400 and points[0][0] == 1 and points[-1][0] == 5000


def test_what_cannot_be_served_is_one_line(tmp_path):
  with pytest.raises(errors.InputError, match="there is no such folder"):
    scan.runs([str(tmp_path / "none")])
  with (
    server.serve([str(tmp_path)], "127.0.0.1", 0) as one,
    pytest.raises(errors.InputError, match="give another port"),
  ):
    server.serve([str(tmp_path)], "127.0.0.1", one.server_address[1])
