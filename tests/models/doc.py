"""docs/models.md, made from the zoo and from the figures that the parity tests left in tests/golden/parity.json."""

import json
import pathlib

from itune_jax.models import zoo
from tests.models import families

FIGURES = pathlib.Path(__file__).parent.parent / "golden" / "parity.json"
COLUMNS = ("forward", "cached", "export", "gradient", "lora")
KINDS = {"decoder": "Decoders", "encdec": "Encoder-decoders", "vlm": "Vision-language models"}


def cases_of(family: str) -> list[str]:
  """The test cases of a family, variants included."""
  every = {**families.CASES, **families.ENCDEC, **families.VLM}
  cases = [case for case, config in every.items() if config["model_type"] == family]
  return cases + (["t5-untied"] if family == "t5" else [])


def page() -> str:
  """The page as it should be."""
  figures = json.loads(FIGURES.read_text())
  lines = [
    "# Models",
    "",
    "Made by `scripts/make_goldens.py models`; do not edit. Figures are of `scripts/test.sh parity`: tiny random",
    "models of each family and variant against transformers in float32. forward, cached, export, lora: the largest",
    "difference of a logit as a share of their range, in the forward pass, in decoding token by token, after",
    "export and loading in transformers, and with an adapter in peft and back. gradient: relative norm of the",
    "difference, the worst of three parameters or more. The dynamic and longrope scalings are tested beyond the",
    "original length.",
  ]
  for kind, title in KINDS.items():
    lines += ["", f"## {title}", "", "| model_type | what is special | variant | " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "---|" * (3 + len(COLUMNS)))
    for name, family in zoo.FAMILIES.items():
      if family.kind != kind:
        continue
      for i, case in enumerate(cases_of(name)):
        head = f"`{name}` | {family.special}" if i == 0 else " | "
        row = figures[case]
        cells = " | ".join(f"{row[c]:.0e}" if row[c] else "0" for c in COLUMNS)
        lines.append(f"| {head} | {case} | {cells} |")
  return "\n".join(lines) + "\n"
