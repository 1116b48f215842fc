"""Bars and tables: on stderr, from the lead process, in one look."""

import rich.table

from itune_jax.run import console


def test_bars_count_with_and_without_a_total(capsys):
  with console.Bars("rows") as bars:
    open_end, known = bars.add("prepare a"), bars.add("prepare b", total=2000)
    open_end.advance()
    open_end.advance(4)
    known.reach(1000, note="loss 3.2")
  out = capsys.readouterr()
  first, second = [" ".join(line.split()) for line in out.err.strip().splitlines()]
  assert not out.out and "prepare a" in first and "5 rows" in first and "left" not in first
  assert "1,000/2,000 rows" in second and "left" in second and second.endswith("loss 3.2")


def test_what_is_not_counted_is_in_percent_and_leaves_nothing(capsys):
  with console.Bars() as bars:
    bars.add("load").reach(1, 4)
  assert "25 %" in capsys.readouterr().err
  with console.Bars(transient=True) as bars:
    bars.add("load").reach(1, 4)
  assert "load" not in capsys.readouterr().err


def test_tables_and_lines_are_the_leads(capsys, monkeypatch):
  table = rich.table.Table("figure", title="one")
  console.show(table, "a line [of] text " * 20)
  out = capsys.readouterr()
  assert not out.out and "figure" in out.err and "a line [of] text " * 20 in out.err
  monkeypatch.setattr("itune_jax.core.log.jax.process_index", lambda: 1)
  console.show(table)
  with console.Bars() as bars:
    bars.add("load").advance()
  assert not capsys.readouterr().err
