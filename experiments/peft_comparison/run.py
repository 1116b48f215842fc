"""Which parameter-efficient method? One budget, every method at its best rate, several seeds, intervals.

    python experiments/peft_comparison/run.py --out runs/peft_comparison --unrelated TEXT.jsonl

Each method is trained at its rates with the first seed; the rate with the lowest held-out loss is trained with the
others. A cell that is done is not done again, so the command can be stopped and given again. Another recipe
(`--recipe`), say for a pod, is the same comparison there.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from rich import progress  # noqa: E402

from itune_jax.core import files  # noqa: E402
from itune_jax.grading.statistics import metrics as metrics_lib  # noqa: E402
from itune_jax.run import results  # noqa: E402

PARTS = pathlib.Path(__file__).parents[2] / "gin_configs" / "peft"
# Parts of gin_configs/peft; the first are the default, that of a machine without an accelerator.
FIRST = "lora dora rslora pissa ia3 vera hira oft miss delora prefix full"
MORE = (
  "olora adalora boft bitfit norms prompt houlsby pfeiffer parallel mam loha lokr reft"
  " mode randlora fourierft vblora c3a shira gralora hra road mora eva lora_ga routed mixlora"
)
METHODS = tuple(f"{FIRST} {MORE}".split())


def rates(method: str, count: int) -> list[float]:
  """`count` rates around that of the method's part, a factor √10 apart, rounded to one digit."""
  found = re.search(r"^schedule\.Schedule\.rate = (\S+)$", (PARTS / f"{method}.gin").read_text(), re.M)
  if found is None:
    raise SystemExit(f"{PARTS / method}.gin has no schedule.Schedule.rate: the middle of its rates")
  return [float(f"{float(found[1]) * 10 ** ((k - count // 2) / 2):.0e}") for k in range(count)]


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run of the comparison."""

  method: str
  rate: float
  seed: int

  def folder(self, out: str) -> str:
    """Its run directory."""
    return os.path.join(out, self.method, f"rate_{self.rate:g}", f"seed_{self.seed}")


def command(args, cell: Cell) -> list[str]:
  """The flags that make a cell."""
  flags = [f"--gin_file={args.recipe}", f"--gin_file=peft/{cell.method}.gin", *args.flag]
  flags += [
    f"--gin.schedule.Schedule.rate={cell.rate}",
    f"--gin.SEED={cell.seed}",
    f"--gin.UNRELATED='{args.unrelated}'",
  ]
  return [*flags, f"--run_dir={cell.folder(args.out)}"]


def run(argv: list[str], log: str) -> tuple[float, float]:
  """Runs an itune command; returns (seconds, peak GiB). Ends the program with the log's last line if it fails."""
  started = time.perf_counter()
  os.makedirs(os.path.dirname(log), exist_ok=True)
  with open(log, "ab") as f:
    process = subprocess.Popen([sys.executable, "-m", "itune_jax.run.cli", *argv], stdout=f, stderr=f)
    _, status, usage = os.wait4(process.pid, 0)
  if status:
    with open(log, encoding="utf-8", errors="replace") as f:
      raise SystemExit(f"{log}: {f.read().strip().splitlines()[-1]}")
  return time.perf_counter() - started, usage.ru_maxrss / 2**20


def measured(args, cell: Cell) -> dict:
  """The figures of a cell, trained (and evaluated after its last step) if it was not."""
  folder = cell.folder(args.out)
  done = os.path.join(folder, "cell.json")
  if not os.path.exists(done):
    flags, log = command(args, cell), os.path.join(args.out, "logs", f"{cell.method}_{cell.rate:g}_{cell.seed}.txt")
    seconds, peak = run(["train", *flags], log)
    facts = files.read_json(os.path.join(folder, "run.json"))["facts"]
    train = files.read_json(os.path.join(folder, "train.json"))
    files.write_json(
      done,
      dataclasses.asdict(cell)
      | figures(folder, results.labels(folder)[-1])
      | {
        "trainable_parameters": facts["trainable_parameters"],
        "trained_tokens_per_s": train["trained_tokens_per_s"],
        "train_s": seconds,
        "peak_gib": peak,
      },
    )
  return files.read_json(done)


def figures(folder: str, label: str) -> dict[str, float]:
  """Exact match, held-out loss and loss on unrelated text of one evaluation."""
  read = lambda name: results.read(folder, label, name).figures
  starter, own, other = read("starter"), read("heldout"), read("forgetting")
  return {
    "exact_match": starter["starter/exact_match"],
    "heldout_loss": own["heldout/loss"],
    "unrelated_loss": other["forgetting/loss"],
  }


def per_item(args, cells: list[Cell]) -> tuple[dict[str, float], dict[str, str]]:
  """The mean over seeds of every item's verdict, and the clusters of the items."""
  found: dict[str, list[float]] = {}
  clusters: dict[str, str] = {}
  for cell in cells:
    folder = cell.folder(args.out)
    for row in results.read_rows(folder, results.labels(folder)[-1], "starter"):
      found.setdefault(row["id"], []).append(float(row["correct"]))
      clusters[row["id"]] = row["cluster"]
  return {item: float(np.mean(values)) for item, values in found.items()}, clusters


def sweep(args) -> dict[str, list[dict]]:
  """All cells: every rate with the first seed, the best rate with the others."""
  seeds = range(args.seeds)
  total = len(args.methods) * (args.rates + args.seeds - 1)
  found: dict[str, list[dict]] = {}
  with progress.Progress() as bar:
    task = bar.add_task("cells", total=total)
    for method in args.methods:
      first = []
      for rate in rates(method, args.rates):
        bar.update(task, description=f"{method} at {rate:g}")
        first.append(measured(args, Cell(method, rate, 0)))
        bar.advance(task)
      best = min(first, key=lambda cell: cell["heldout_loss"])
      found[method] = [best]
      for seed in seeds[1:]:
        bar.update(task, description=f"{method} at {best['rate']:g}, seed {seed}")
        found[method].append(measured(args, Cell(method, best["rate"], seed)))
        bar.advance(task)
  return found


def table(args, found: dict[str, list[dict]], before: dict[str, float]) -> list[dict]:
  """A row a method: means over seeds, and the difference to the first method with its interval."""
  cells_of = lambda method: [Cell(method, cell["rate"], cell["seed"]) for cell in found[method]]
  first = args.methods[0]
  reference, clusters = per_item(args, cells_of(first))
  rows = []
  for method, cells in found.items():
    mean = lambda key, cells=cells: float(np.mean([cell[key] for cell in cells]))
    mine, _ = per_item(args, cells_of(method))
    shared = [item for item in reference if item in mine]
    lists = [[kind[item] for item in shared] for kind in (reference, mine, clusters)]
    gain, low, high, _ = metrics_lib.Mean().paired(*lists).figure
    rows.append(
      {
        "method": method,
        "rate": cells[0]["rate"],
        "seeds": len(cells),
        "exact_match": mean("exact_match"),
        "over_" + first: [gain, low, high] if method != first else [0.0, 0.0, 0.0],
        "heldout_loss": mean("heldout_loss"),
        "heldout_loss_by_seed": [cell["heldout_loss"] for cell in cells],
        "forgetting": mean("unrelated_loss") - before["unrelated_loss"],
        "trainable_parameters": cells[0]["trainable_parameters"],
        "trained_tokens_per_s": max(cell["trained_tokens_per_s"] for cell in cells),
        "peak_gib": mean("peak_gib"),
        "adapter_mib": cells[0]["trainable_parameters"] * 4 / 2**20,
      }
    )
  return sorted(rows, key=lambda row: row["heldout_loss"])


def write(out: str, rows: list[dict], first: str, before: float) -> None:
  """JSON, a table in Markdown, and a plot of quality against trained parameters."""
  files.write_json(os.path.join(out, "comparison.json"), rows)
  head = (
    "method",
    "rate",
    "exact match",
    f"over {first} [95 %]",
    "held-out loss",
    "forgetting",
    "trained",
    "tokens/s",
    "GiB",
  )
  lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
  for row in rows:
    gain, *bounds = row["over_" + first]
    shown = f"[{', '.join(f'{100 * bound:.1f}' for bound in bounds)}]" if None not in bounds else "no interval"
    lines.append(
      f"| {row['method']} | {row['rate']:g} | {row['exact_match']:.1%} | {100 * gain:+.1f} {shown} | "
      f"{row['heldout_loss']:.3f} | {row['forgetting']:+.3f} | {row['trainable_parameters']:,} | "
      f"{row['trained_tokens_per_s']:.0f} | {row['peak_gib']:.1f} |"
    )
  files.write_text(os.path.join(out, "comparison.md"), "\n".join(lines) + "\n")
  _plot(os.path.join(out, "comparison.png"), rows, before)
  print("\n".join(lines))


def _plot(path: str, rows: list[dict], before: float) -> None:
  """Held-out loss against trained parameters; what is worse than the base stands on its line, with its figure."""
  figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
  axis.axhline(before, color="tab:gray", linestyle=":", label="the base")
  for k, row in enumerate(sorted(rows, key=lambda row: row["heldout_loss"])):
    worse = row["heldout_loss"] > before
    at = (row["trainable_parameters"], min(row["heldout_loss"], before))
    axis.scatter(*at, color="tab:red" if worse else "tab:blue", marker="^" if worse else "o")
    name = f"{row['method']} ({row['heldout_loss']:.2f})" if worse else row["method"]
    side, align = (6, "left") if k % 2 else (-6, "right")
    axis.annotate(name, at, xytext=(side, 0), textcoords="offset points", ha=align, va="center")
  axis.set(
    xscale="log", xlabel="trained parameters", ylabel="held-out loss (nats a token)", title="Lower left is better"
  )
  axis.margins(0.15, 0.1)
  axis.legend(loc="center right")
  figure.savefig(path, dpi=150)


def main() -> None:
  """Parses flags, runs what is missing, writes the comparison."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="folder of all runs; given again, what is done stays")
  parser.add_argument("--recipe", default="recipes/peft_comparison.gin", help="the budget: base, data, steps, mesh")
  parser.add_argument("--unrelated", required=True, metavar="FILE", help="text that is not trained on: forgetting")
  named = [*METHODS, "all"]
  parser.add_argument("--methods", nargs="+", default=FIRST.split(), choices=named, help="the first is compared with")
  parser.add_argument("--rates", type=int, default=3, help="how many rates of each method (default: 3)")
  parser.add_argument("--seeds", type=int, default=3, help="of the best rate (default: 3)")
  parser.add_argument(
    "--flag", action="append", default=[], help="a further flag of every command, e.g. --flag=--gin.STEPS=8"
  )
  args = parser.parse_args()
  args.methods = list(METHODS) if "all" in args.methods else args.methods
  prepare = [f"--gin_file={args.recipe}", *args.flag, f"--gin.UNRELATED='{args.unrelated}'"]
  run(["prepare", *prepare], os.path.join(args.out, "logs", "prepare.txt"))
  if not os.path.exists(os.path.join(args.out, "base", "evals", "before", "forgetting.json")):
    run(["eval", *prepare, f"--run_dir={args.out}/base", "--name=before"], os.path.join(args.out, "logs", "base.txt"))
  before = figures(os.path.join(args.out, "base"), "before")
  rows = table(args, sweep(args), before)
  write(args.out, rows, args.methods[0], before["heldout_loss"])
  print(json.dumps({"out": args.out, "methods": len(rows), "base": before, "best": rows[0]["method"]}))


if __name__ == "__main__":
  main()
