"""What a person sees at the terminal while a command works: bars of one look, and tables. Stderr, lead process only."""

from typing import Any

from rich import progress as rich_progress
import rich.console
import rich.table
import rich.text

from itune_jax.core import log


class Bars:
  """Progress of one or more pieces of work, shown from `start` to `stop`, or inside a `with`.

  unit: what is counted ("rows"). transient: nothing of it stays on the screen.
  """

  def __init__(self, unit: str = "", transient: bool = False):
    columns = (
      rich_progress.TextColumn("{task.description}", markup=False),
      rich_progress.BarColumn(),
      _Count(unit),
      rich_progress.TimeElapsedColumn(),
      _Left(),
      rich_progress.TextColumn("{task.fields[note]}", markup=False),
    )
    self._bars = rich_progress.Progress(*columns, console=_stderr(), transient=transient, disable=not log.is_lead())

  def add(self, what: str, total: float | None = None, done: int = 0) -> "Bar":
    """A bar for one piece of work; without a total it only counts."""
    return Bar(self._bars, self._bars.add_task(what, total=total, completed=done, note=""))

  def start(self) -> None:
    """Shows the bars from now on."""
    self._bars.start()

  def stop(self) -> None:
    """Leaves the last state standing."""
    self._bars.stop()

  def __enter__(self) -> "Bars":
    self.start()
    return self

  def __exit__(self, *error) -> None:
    self.stop()


class Bar:
  """The bar of one piece of work."""

  def __init__(self, bars: rich_progress.Progress, task: rich_progress.TaskID):
    self._bars, self._task = bars, task

  def advance(self, count: float = 1) -> None:
    """So much more is done."""
    self._bars.advance(self._task, count)

  def reach(self, done: float, total: float | None = None, note: str | None = None) -> None:
    """So much is done, of a total that may be known only now; the note stands behind the bar."""
    self._bars.update(self._task, completed=done, total=total)
    if note is not None:
      self._bars.update(self._task, note=note)


def show(*parts: Any) -> None:
  """Prints tables and lines for the person at the terminal."""
  if log.is_lead():
    fill(_stderr(), *parts)


def fill(console: rich.console.Console, *parts: Any) -> None:
  """Prints tables, and lines of text as they are, on a console."""
  for part in parts:
    plain = isinstance(part, str)
    console.print(part, markup=not plain, highlight=not plain, soft_wrap=plain)


class _Count(rich_progress.ProgressColumn):
  """How much is done, of how much; in percent where nothing is counted."""

  def __init__(self, unit: str):
    super().__init__(rich.table.Column(no_wrap=True))
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
  return _Console(stderr=True)
