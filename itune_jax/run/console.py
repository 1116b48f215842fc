"""What a person sees while a command works: bars of one look or lines, and tables. Stderr, lead process only."""

from collections.abc import Iterator, Mapping
import os
import sys
import time
from typing import Any

from rich import progress as rich_progress
import rich.console
import rich.table
import rich.text

from itune_jax.core import log


PLAIN_SECONDS = 30  # between two lines of a piece of work, where there is no terminal


def on_terminal() -> bool:
  """Whether somebody looks at bars: stderr is a terminal, and lines are not asked for as JSON."""
  return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not log.as_json()


def in_colour(stream: Any) -> bool:
  """Whether a stream takes colours: a terminal, without NO_COLOR in the environment (no-color.org)."""
  return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Bars:
  """Progress of one or more pieces of work, shown from `start` to `stop`, or inside a `with`.

  On a terminal they are bars; elsewhere a line every 30 seconds, and one at the end of what took longer than that.
  unit: what is counted ("rows"). transient: nothing of it stays on the screen.
  """

  def __init__(self, unit: str = "", transient: bool = False):
    self._unit, self._bars, self._plain, self._transient = unit, None, [], transient
    if log.is_lead() and on_terminal():
      self._bars = progress(unit, _stderr(), transient)

  def add(self, what: str, total: float | None = None, done: int = 0) -> "Bar":
    """A bar for one piece of work; without a total it only counts."""
    task = self._bars.add_task(what, total=total, completed=done, note="") if self._bars is not None else None
    self._plain.append(Bar(self._bars, task, _Lines(what, self._unit, total, done)))
    return self._plain[-1]

  def start(self) -> None:
    """Shows the bars from now on."""
    if self._bars is not None:
      self._bars.start()

  def stop(self) -> None:
    """Leaves the last state standing."""
    for bar in self._plain if self._bars is not None or not self._transient else ():
      bar.finish()
    if self._bars is not None:
      self._bars.stop()

  def __enter__(self) -> "Bars":
    self.start()
    return self

  def __exit__(self, *error) -> None:
    self.stop()


def progress(unit: str, console: rich.console.Console, transient: bool = False) -> rich_progress.Progress:
  """Bars of one look, one line each at any width: a narrow terminal has no bars, then no clocks, and cut notes."""
  width = console.width
  line = lambda most=None: rich.table.Column(no_wrap=True, overflow="ellipsis", max_width=most)
  columns: list[rich_progress.ProgressColumn] = [
    rich_progress.TextColumn("{task.description}", markup=False, table_column=line(max(8, width // 4))),
    _Count(unit),
  ]
  if width >= 100:
    columns.append(rich_progress.TimeElapsedColumn(table_column=line()))
  if width >= 60:
    columns.append(_Left(table_column=line()))
  if width >= 90:
    columns.insert(1, rich_progress.BarColumn(bar_width=min(40, width // 4 - 11), table_column=line()))
  columns.append(rich_progress.TextColumn("{task.fields[note]}", markup=False, table_column=line(width // 3)))
  return rich_progress.Progress(*columns, console=console, transient=transient)


class Bar:
  """The bar of one piece of work."""

  def __init__(self, bars: rich_progress.Progress | None, task: rich_progress.TaskID | None, lines: "_Lines"):
    self._bars, self._task, self._lines = bars, task, lines

  def advance(self, count: float = 1) -> None:
    """So much more is done."""
    self.reach(self._lines.done + count)

  def reach(self, done: float, total: float | None = None, note: str | None = None) -> None:
    """So much is done, of a total that may be known only now; the note stands behind the bar."""
    self._lines.reach(done, total, note)
    if self._bars is None or self._task is None:
      self._lines.say_if_due()
      return
    self._bars.update(self._task, completed=done, total=total)
    if note is not None:
      self._bars.update(self._task, note=note)

  def finish(self) -> None:
    """Nothing more comes: its clock stands still."""
    if self._bars is None or self._task is None:
      self._lines.finish()
    else:
      self._bars.stop_task(self._task)


class _Lines:
  """A piece of work as lines now and then."""

  def __init__(self, what: str, unit: str, total: float | None, done: float):
    self._what, self._unit, self._total, self._note = what, unit, total, ""
    self.done, self._from = done, done
    self._said, self._first = time.monotonic(), None
    self._shown, self._ended = done, False

  def reach(self, done: float, total: float | None, note: str | None) -> None:
    """Takes note of how far it is. The time to the first of it is not its pace: that step compiles."""
    if self._first is None and done > self._from:
      self._first = (time.monotonic(), done)
    self.done = done
    self._total = self._total if total is None else total
    self._note = self._note if note is None else note

  def say_if_due(self) -> None:
    """A line, if the last one is long ago."""
    if time.monotonic() - self._said >= PLAIN_SECONDS:
      self._say()

  def finish(self) -> None:
    """The last line, of what had one before."""
    if not self._ended and self._shown != self._from and self._shown != self.done:
      self._say()
    self._ended = True

  def _say(self) -> None:
    self._said, self._shown = time.monotonic(), self.done
    parts = [self._amount(), *([self._note] if self._note else [])]
    began, first = self._first or (self._said, self.done)
    left = None
    if self._total and self.done > first:
      left = max(0.0, (self._total - self.done) * (self._said - began) / (self.done - first))
      parts.append(f"{_clock(left)} left")
    fields = {"what": self._what, "done": self.done, "total": self._total, "note": self._note, "left_s": left}
    log.info(f"{self._what}: {', '.join(parts)}", event="progress", **fields)

  def _amount(self) -> str:
    if not self._unit:
      return f"{100 * self.done / self._total:.0f} %" if self._total else "…"
    return f"{self.done:,.0f}{f'/{self._total:,.0f}' if self._total else ''} {self._unit}"


def _clock(seconds: float) -> str:
  return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def bounds(figures: Mapping[str, float]) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
  """Figures by name, each with the interval that stands beside it as `NAME_low` and `NAME_high`."""
  ends = {name: (f"{name}_low", f"{name}_high") for name in figures}
  told = {end for pair in ends.values() if all(end in figures for end in pair) for end in pair}
  for name, value in figures.items():
    low, high = ends[name]
    if name not in told:
      yield name, value, (figures[low], figures[high]) if low in told else None


def show(*parts: Any) -> None:
  """Prints tables and lines for the person at the terminal."""
  if log.is_lead():
    fill(_stderr(), *parts)


def printed(*parts: Any) -> None:
  """Prints tables on stdout, as wide as they need where that is no terminal."""
  width = None if sys.stdout.isatty() else 200
  fill(rich.console.Console(file=sys.stdout, no_color=not in_colour(sys.stdout), width=width), *parts)


def fill(console: rich.console.Console, *parts: Any) -> None:
  """Prints tables, and lines of text as they are, on a console."""
  for part in parts:
    plain = isinstance(part, str)
    console.print(part, markup=not plain, highlight=not plain, soft_wrap=plain)


class _Count(rich_progress.ProgressColumn):
  """How much is done, of how much; in percent where nothing is counted."""

  def __init__(self, unit: str):
    super().__init__(rich.table.Column(no_wrap=True, overflow="ellipsis"))
    self._unit = unit

  def render(self, task: rich_progress.Task) -> rich.text.Text:
    if not self._unit:
      return rich.text.Text(f"{task.percentage:3.0f} %")
    total = "" if task.total is None else f"/{task.total:,.0f}"
    return rich.text.Text(f"{task.completed:,.0f}{total} {self._unit}")


class _Left(rich_progress.TimeRemainingColumn):
  """The time that is left, where there is a total to tell it from."""

  def render(self, task: rich_progress.Task) -> rich.text.Text:
    return rich.text.Text() if task.total is None else rich.text.Text.assemble("left ", super().render(task))


class _Console(rich.console.Console):
  """Leaves a closed pipe to `cli`, as everything else that prints does."""

  def on_broken_pipe(self) -> None:
    raise  # called where the error is being handled


def _stderr() -> rich.console.Console:
  return _Console(stderr=True, no_color=True if os.environ.get("NO_COLOR") else None)
