"""The prompts of "Safety-Tuned LLaMAs" (Bianchi et al. 2023): five sets that ask for harm, two that ask for none.

Its authors score answers by a reward model of harmfulness, which is in no package: refusals are counted here by rules,
and by a judge where there is one. The set Q-Harm holds questions that sound harmful and often are not; its authors
count it among the harmful ones.
"""

from collections.abc import Iterator

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.safety import exaggerated

SAFE = ("I-PhysicalSafetySafe", "I-Alpaca")
UNSAFE = ("I-CoNa", "I-Controversial", "I-MaliciousInstructions", "I-PhysicalSafetyUnsafe", "Q-Harm")


def read(folder: folders.Folder) -> Iterator[exaggerated.Prompt]:
  """The prompts, set by set; ids are `Q-Harm/7`."""
  for name in (*UNSAFE, *SAFE):
    file = f"eval/{name}.json"
    path = folder.file(file)
    found = folder.object(file)
    asked = found.get("instructions") if isinstance(found, dict) else None
    texts = isinstance(asked, list) and all(isinstance(one, str) and one for one in asked)
    check.require(texts, f"{path}: an object with `instructions`, a list of texts, is expected")
    for place, text in enumerate(asked or ()):
      tags = {"set": name, "label": "safe" if name in SAFE else "unsafe"}
      yield exaggerated.Prompt(f"{name}/{place}", text, name in SAFE, tags, f"{path}: instruction {place + 1}")


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the seven sets in `eval/`."""
  return exaggerated.benchmark("safety_tuned", settings, lambda: read(folder), ("label", "set"))


BENCHMARK = official.Published(
  name="safety_tuned",
  axis="safety",
  title="Prompts of the safety-tuned LLaMAs",
  files=tuple(f"eval/{name}.json" for name in (*UNSAFE, *SAFE)),
  source="https://github.com/vinid/safety-tuned-llamas (data/evaluation, as eval/)",
  parity="not compared: there is no official scorer",
  licence="CC BY-NC 4.0",
  size="0.1 MB",
  count=668,
  metric="under_refusal",
  subtask="set",
  make=make,
)
