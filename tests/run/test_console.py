"""Bars and tables: on stderr, from the lead process, in one look."""

import io
import json

import pytest
import rich.console
import rich.table

from itune_jax.core import log
from itune_jax.run import console
from itune_jax.run import listeners
from itune_jax.run.report import token_page


@pytest.fixture
def terminal(monkeypatch):
  """Somebody looks at the bars."""
  monkeypatch.setattr(console, "on_terminal", lambda: True)


def test_the_time_that_is_left_leaves_out_the_step_that_compiles(capsys, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
  with console.Bars("steps") as bars:
    bar = bars.add("train", total=10)
    for seconds in (100, 131, 162):
      now[0] = seconds
      bar.advance()
  lines = capsys.readouterr().err.strip().splitlines()
  assert lines == ["train: 1/10 steps", "train: 2/10 steps, 0:04:08 left", "train: 3/10 steps, 0:03:37 left"]


def test_bars_count_with_and_without_a_total(capsys, terminal):
  with console.Bars("rows") as bars:
    open_end, known = bars.add("prepare a"), bars.add("prepare b", total=2000)
    open_end.advance()
    open_end.advance(4)
    known.reach(1000, note="loss 3.2")
  out = capsys.readouterr()
  first, second = [" ".join(line.split()) for line in out.err.strip().splitlines()]
  assert not out.out and "prepare a" in first and "5 rows" in first and "left" not in first
  assert "1,000/2,000 rows" in second and "left" in second and second.endswith("loss 3.2")


def test_what_is_not_counted_is_in_percent_and_leaves_nothing(capsys, terminal):
  with console.Bars() as bars:
    bars.add("load").reach(1, 4)
  assert "25 %" in capsys.readouterr().err
  with console.Bars(transient=True) as bars:
    bars.add("load").reach(1, 4)
  assert "load" not in capsys.readouterr().err


def test_tables_and_lines_are_the_leads(capsys, monkeypatch, terminal):
  table = rich.table.Table("figure", title="one")
  console.show(table, "a line [of] text " * 20)
  out = capsys.readouterr()
  assert not out.out and "figure" in out.err and "a line [of] text " * 20 in out.err
  monkeypatch.setattr("jax.process_index", lambda: 1)
  console.show(table)
  with console.Bars() as bars:
    bars.add("load").advance()
  assert not capsys.readouterr().err


def test_without_a_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
  hook = listeners.Bar(steps=100, done=0)
  for step in range(1, 101):
    now[0] += 1
    hook(step, {"loss": 2.5, "trained_tokens_per_s": 1234.0})
    if step == 50:
      hook(
        step,
        {"validation/loss": 1.25, "validation/loss_low": 1.2, "validation/loss_high": 1.3, "validation/a/loss": 1.0},
      )
      hook.flush()
  hook.close()
  lines = capsys.readouterr().err.strip().splitlines()
  assert lines == [
    "train: 30/100 steps, loss 2.500  1,234 trained tokens/s, 0:01:10 left",
    "step 50: validation/loss 1.25 [1.2, 1.3]",
    "step 50: checkpoint",
    "train: 60/100 steps, loss 2.500  1,234 trained tokens/s, 0:00:40 left",
    "train: 90/100 steps, loss 2.500  1,234 trained tokens/s, 0:00:10 left",
    "train: 100/100 steps, loss 2.500  1,234 trained tokens/s, 0:00:00 left",
  ]


def test_what_is_quickly_done_says_nothing(capsys):
  with console.Bars("rows") as bars:
    bars.add("prepare a", total=3).reach(3)
  assert not capsys.readouterr().err


def test_lines_as_json_have_what_they_say(capsys, monkeypatch):
  monkeypatch.setattr(log, "_as_json", True)
  listeners.Bar(steps=4, done=0)(2, {"validation/loss": 1.25})
  found = json.loads(capsys.readouterr().err)
  assert (found["event"], found["step"], found["figures"]) == ("evaluation", 2, {"validation/loss": 1.25})
  assert found["text"] == "step 2: validation/loss 1.25" and found["time"].endswith("+00:00")


def test_tokens_in_a_pipe_have_no_escapes():
  shown = [("row 1", [("a", 0.0), ("b", 1.0), ("c", 2.0), ("d", 0.0)])]
  assert token_page.plain(shown) == "\nrow 1\na⟦bc⟧d\n" and "\033" in token_page.coloured(shown)


@pytest.mark.parametrize(
  "terminal,environment,coloured", [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False)]
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, terminal, environment, coloured):
  monkeypatch.delenv("NO_COLOR", raising=False)
  monkeypatch.setenv("TERM", "xterm")
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  stream = type("Stream", (), {"isatty": lambda self: terminal})()
  assert console.in_colour(stream) == coloured


@pytest.mark.parametrize("width", range(20, 161, 7))
def test_a_bar_is_one_line_at_any_width(width):
  written = io.StringIO()
  narrow = rich.console.Console(file=written, width=width, force_terminal=True, color_system=None)
  bars = console.progress("steps", narrow)
  bars.add_task("train", total=12345, completed=1234, note="loss 1.2345, 12,345 trained tokens/s, evaluated")
  bars.add_task("eval starter_heldout_of_a_long_name", total=None, completed=7, note="")
  narrow.print(bars.get_renderable())
  lines = written.getvalue().rstrip("\n").split("\n")
  assert len(lines) == 2 and all(len(line) <= width for line in lines)
  assert "1,23" in lines[0] and (width < 40 or "1,234/12,345" in lines[0]) and (width < 120 or "left" in lines[0])
