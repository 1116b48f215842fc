"""What `itune plan` shows to a person: one table for the terminal and the page, and what to change."""

from collections.abc import Mapping
import io
from typing import Any

import rich.console
import rich.table

from itune_jax.core import files
from itune_jax.nn import stack
from itune_jax.run import console
from itune_jax.run.plan import remat
from itune_jax.run.plan import suite_times


def show(found: Mapping[str, Any], html: str = "") -> None:
  """Prints the table on stderr, and writes it as a page where a file is named."""
  if found["program"] == "suite":
    parts = [*suite_times.tables(found), *(f"· {hint}" for hint in suite_times.advice(found))]
  else:
    tables = [_tried(found), _table(found)] if "tried" in found else [_table(found)]
    parts = [*tables, *(f"· {hint}" for hint in advice(found))]
  console.show(*parts)
  if html:
    page = rich.console.Console(record=True, file=io.StringIO(), width=110)
    console.fill(page, *parts)
    files.write_text(html, page.export_html(inline_styles=True))


def advice(found: Mapping[str, Any]) -> list[str]:
  """What to change when a step does not fit, or waits for something else than arithmetic."""
  if "fits" not in found:
    return []
  hints, sizes = [], found["gib_per_chip"]
  if "tried" in found and found["fits"]:
    hints.append(f"The shortest step that fits: {remat.flags(stack.Remat(**found['remat']))}")
  if "reason" in found and sum(sizes.values()) < found["hbm_gib_per_chip"]:
    sizes = sizes | {"activations_and_buffers": found["hbm_gib_per_chip"]}
  if not found["fits"]:
    largest = max(sizes, key=lambda name: sizes[name])
    hints.append(
      f"It does not fit, and {largest.replace('_', ' ')} take most: "
      + {
        "activations_and_buffers": "fewer rows a micro-batch (MICRO_BATCHES), remat/full.gin, a smaller Sft.chunk.",
        "frozen": "shard over more chips, precision/bf16_base.gin, or overlays/qlora.gin.",
      }.get(largest, "shard over more chips, or train an adapter (peft/lora.gin).")
    )
  if "reason" in found:
    return hints
  if found["bound"] == "memory":
    hints.append("Bound by HBM: more rows a micro-batch would do more arithmetic for each byte read.")
  if found["bound"] == "links":
    hints.append("Bound by the links between chips: more positions a chip, or fewer chips along fsdp.")
  if found["exposed_collectives_s"] > 0.2 * found["step_s"]:
    hints.append("More than a fifth of the step waits for collectives that nothing overlaps.")
  return hints


def _tried(found: Mapping[str, Any]) -> rich.table.Table:
  """The policies of rematerialisation that were compiled, the chosen one marked."""
  table = rich.table.Table("", "kept for the backward pass", "GiB a chip", "step", title="rematerialisation")
  for one in found["tried"]:
    chosen = found["fits"] and one["remat"] == found["remat"]
    peak = f"{one['peak_gib_per_chip']:.3f}" if "peak_gib_per_chip" in one else "too much"
    step = f"{one['step_s']:.4g} s" if one["fits"] else "does not fit"
    table.add_row("→" if chosen else "", remat.in_words(stack.Remat(**one["remat"])), peak, step)
  return table


def _where(found: Mapping[str, Any]) -> str:
  several = f"{found['slices']} slices of " if found["slices"] > 1 else ""
  return f"{several}{found['topology']}: {found['chips']} chips"


def _table(found: Mapping[str, Any]) -> rich.table.Table:
  table = rich.table.Table("", "", title=f"{found['program']} on {_where(found)}", show_header=False)
  giga = lambda value: f"{value / 1e9:,.1f} GB"
  add = lambda name, text: table.add_row(name, text)
  add("parameters", f"{found['parameters']:,} ({found['trainable_parameters']:,} trained)")
  add("positions a step", f"{found['positions_per_step']:,}")
  if "fits" not in found:
    return table
  if "reason" in found:
    add("memory a chip", f"it does not fit: {found['reason']}")
    return table
  table.add_section()
  verdict = "it fits" if found["fits"] else "it does not fit"
  verdict += " (an estimate: no compiler for GPUs is here)" if found.get("estimate") else ""
  add("memory a chip", f"{found['peak_gib_per_chip']:.3f} of {found['hbm_gib_per_chip']:g} GiB: {verdict}")
  for name, size in found["gib_per_chip"].items():
    add(f"  {name.replace('_', ' ')}", f"{size:.3f} GiB")
  table.add_section()
  add("arithmetic a chip", f"{found['flops_per_chip'] / 1e12:,.1f} TFLOP ({found['flops_over_6nd']:.2f} × 6ND)")
  add("HBM traffic a chip", giga(found["bytes_per_chip"]))
  for axes, size in sorted(found["collective_bytes_per_chip"].items(), key=lambda item: -item[1]):
    add(f"  received along {axes}", giga(size))
  table.add_section()
  add("step", f"{found['step_s']:.3f} s, bound by {found['bound']}")
  for name in ("compute_s", "memory_s", "overlapped_collectives_s", "exposed_collectives_s"):
    add(f"  {name.removesuffix('_s').replace('_', ' ')}", f"{found[name]:.3f} s")
  add("MFU", f"{found['mfu']:.1%}")
  trained = " (trained tokens, were every position one)" if found["program"] == "train" else ""
  add("positions a second", f"{found['positions_per_s']:,}{trained}")
  add("compiled in", f"{found['compile_s']:.0f} s")
  return table
