"""The closing table of the demo, from what the commands wrote; the last line of stdout is one JSON object."""

import json
import os
import sys

import rich.console
import rich.table

from itune_jax.run.report import page


def main() -> None:
  """Usage: demo_table.py RUN_DIR NAME=SECONDS …"""
  run_dir, timings = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
  path, figures = page.write(run_dir)
  with open(os.path.join(run_dir, "train.json"), encoding="utf-8") as f:
    trained = json.load(f)
  percent = (
    lambda name, low, high: f"{100 * figures[name]:.1f} %  [{100 * figures[low]:.1f}, {100 * figures[high]:.1f}]"
  )
  table = rich.table.Table("demo", "value", title="Instruction tuning of SmolLM2-135M-Instruct: held-out items")
  table.add_row("exact match before", percent("exact_match_before", "before_low", "before_high"))
  table.add_row("exact match after", percent("exact_match_after", "after_low", "after_high"))
  table.add_row(
    "gain, points",
    f"{100 * figures['gain']:+.1f}  [{100 * figures['gain_ci_low']:+.1f}, {100 * figures['gain_ci_high']:+.1f}]",
  )
  table.add_row("trained tokens/s", f"{trained['trained_tokens_per_s']:.1f}")
  table.add_row("first step (compile)", f"{trained['first_step_s']:.1f} s")
  table.add_row("wall time", f"{int(timings['wall_s']) // 60} min {int(timings['wall_s']) % 60} s")
  table.add_row("report", path)
  rich.console.Console(stderr=True, width=100).print(table)
  keys = ("exact_match_before", "exact_match_after", "gain", "gain_ci_low", "gain_ci_high")
  print(
    json.dumps(
      {
        **{k: round(figures[k], 4) for k in keys},
        "trained_tokens_per_s": round(trained["trained_tokens_per_s"], 2),
        "first_step_s": round(trained["first_step_s"], 1),
        **{k: float(v) for k, v in timings.items()},
        "report": path,
      }
    )
  )


if __name__ == "__main__":
  main()
