"""The starter set, made anew from its seed: 16 families by template, and hand-written open-ended pairs. CC0."""

import importlib.resources
import json
import random
from collections.abc import Iterator
from typing import Any

from itune_jax.data.starter import families

SEED = 20250101
TRAIN_PER_FAMILY = 80
HELDOUT_PER_FAMILY = 18
_LICENCE = "CC0-1.0"


def split(name: str) -> Iterator[dict[str, Any]]:
  """Rows of "train" or "heldout", in a fixed order."""
  for family in families.FAMILIES:
    yield from _family(family, name)
  if name == "train":
    yield from _open_ended()


def _family(name: str, split_name: str) -> Iterator[dict[str, Any]]:
  family = families.FAMILIES[name]
  wordings = family.train if split_name == "train" else family.heldout
  count = TRAIN_PER_FAMILY if split_name == "train" else HELDOUT_PER_FAMILY
  rng = random.Random(f"{SEED}/{split_name}/{name}")
  for i in range(count):
    template = i % len(wordings)
    drawn = family.draw(rng)
    turns = [{"role": role, "content": text} for role, text in drawn.get("turns", ())]
    question = wordings[template].format(**drawn)
    yield {
      "id": f"starter-{split_name}-{name}-{i}",
      "language": "en",
      "domain": name,
      "messages": [*turns, {"role": "user", "content": question}, {"role": "assistant", "content": drawn["answer"]}],
      "source": {
        "kind": "annotated",
        "dataset": "itune-starter",
        "licence": _LICENCE,
        "family": name,
        "template": f"{name}/{split_name}/{template}",
      },
      "check": {
        "name": drawn.get("check", "exact"),
        "answer": drawn["answer"],
        **({"choices": list(drawn["choices"])} if "choices" in drawn else {}),
      },
    }


def pairs(name: str) -> Iterator[dict[str, Any]]:
  """Preferences of "train" or "heldout": of each row with a check, its answer against that of the next row of its
  family that is another one, which is wrong here."""
  by_family: dict[str, list[dict[str, Any]]] = {}
  for row in split(name):
    if "check" in row:
      by_family.setdefault(row["domain"], []).append(row)
  for rows in by_family.values():
    said = [row["messages"][-1]["content"] for row in rows]
    for i, row in enumerate(rows):
      others = (said[(i + k) % len(said)] for k in range(1, len(said)))
      wrong = next((other for other in others if other.lower() != said[i].lower()), None)
      if wrong is not None:
        asked = {key: value for key, value in row.items() if key not in ("messages", "check")}
        yield {**asked, "prompt": row["messages"][:-1], "chosen": said[i], "rejected": wrong}


def _open_ended() -> Iterator[dict[str, Any]]:
  text = importlib.resources.files("itune_jax.data.starter").joinpath("open_ended.jsonl").read_text(encoding="utf-8")
  for i, line in enumerate(text.splitlines()):
    row = json.loads(line)
    yield {
      "id": f"starter-open-{i}",
      "language": "en",
      "domain": row["domain"],
      "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}],
      "source": {"kind": "annotated", "dataset": "itune-starter-open", "licence": _LICENCE},
    }
