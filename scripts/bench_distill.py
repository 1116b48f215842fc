"""What a teacher is worth to a student of half its layers; the last line of stdout is a JSON object.

python scripts/bench_distill.py --data rows.jsonl --tokenizer tokenizer.json.gz

A student is trained on the data's tokens, and another on the teacher's distribution beside them, on the same rows; then
the same of students that have the words of another tokenizer. Held-out losses are compared row by row.
"""

import argparse
import gzip
import json
import os
import tempfile
from typing import Any

import bench_lib
import tokenizers
import transformers

from itune_jax.core import lazy

torch = lazy.module("torch")


def distill(args: argparse.Namespace) -> dict[str, Any]:
  """Students of half the teacher's layers, all weights trained on the same rows: on the data's tokens alone, and on the
  teacher's distribution beside them; and the same of students with another vocabulary (--tokenizer). Held-out losses,
  and their difference row by row. The teacher is tuned first where --adapter names none."""
  out = args.out or tempfile.mkdtemp()
  base, half = os.path.join(out, "base"), os.path.join(out, "half")
  bench_lib.itune("export", f"--gin.specs.Model.base='{args.model}'", f"--out={base}")
  _halved(base, half)
  data, adapter = args.data, args.adapter or f"{out}/teacher"
  if not args.adapter:
    _trained(args, args.model, "recipes/any_lora.gin", data, adapter, f"--steps={args.steps}")
  students = {"same_words": (half, [])}
  if args.tokenizer:
    _with_words(half, base, args.tokenizer, other := os.path.join(out, "other"))
    more = [f"train/mixture.Source.teacher = '{base}'", "views.Model.own_tokens = True", *_OTHER_WORDS]
    students["other_words"] = (other, more)
  found: dict[str, Any] = {}
  for name, (student, more) in students.items():
    part = os.path.join(out, f"{name}.gin")
    with open(part, "w", encoding="utf-8") as f:
      f.write(
        "\n".join([*_TEACHER, f"teacher/specs.Model.base = '{base}'", f"views.Model.adapter = '{adapter}'", *more])
      )
    how = ["--gin_file=peft/full.gin", f"--gin.schedule.Schedule.rate={args.rate}", f"--steps={args.steps}"]
    runs = {"sft": f"{out}/{name}_sft", "distill": f"{out}/{name}_distill"}
    for kind, more in (("sft", []), ("distill", [f"--gin_file={part}"])):
      _trained(args, student, "recipes/any_lora.gin", data, runs[kind], *how, *more)
    evals = {kind: f"{run}/evals/step_{args.steps:06}" for kind, run in runs.items()}
    found[name] = bench_lib.compared(evals, f"{out}/{name}.html")["loss"]
  return {**found, "out": out}


_TEACHER = (
  "from __gin__ import dynamic_registration",
  "from itune_jax.data import mixture",
  "from itune_jax.objectives.distill import logits",
  "from itune_jax.objectives.distill import stretches",
  "from itune_jax.run import specs",
  "from itune_jax.run import views",
  "OBJECTIVE = @logits.Distill()",
  "logits.Distill.sft = 1.0",
  "VIEWS = {'teacher': @views.Model()}",
  "views.Model.model = @teacher/specs.Model()",
)
_OTHER_WORDS = (
  "OBJECTIVE = @stretches.Stretches()",
  "stretches.Stretches.sft = 1.0",
  "stretches.Stretches.hybrid = True",
)


def _trained(args: argparse.Namespace, base: str, recipe: str, data: str, run_dir: str, *more: str) -> None:
  how = [f"--gin_file={recipe}", f"--base={base}", f"--data={data}", "--val_fraction=0.1", *more]
  steps = [one for one in how if not one.startswith("--steps")]
  bench_lib.itune("prepare", *steps)
  bench_lib.itune("train", *how, f"--run_dir={run_dir}")


def _halved(folder: str, out: str) -> None:
  """Every other layer of a model folder, as a folder."""
  model = transformers.AutoModelForCausalLM.from_pretrained(folder)
  model.model.layers = model.model.layers[::2]
  model.config.num_hidden_layers = len(model.model.layers)
  for i, layer in enumerate(model.model.layers):
    layer.self_attn.layer_idx = i
  model.save_pretrained(out)
  transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(out)


def _with_words(folder: str, words: str, file: str, out: str) -> None:
  """A model folder with the vocabulary of a tokenizer.json[.gz]; each word begins as the mean of the model's own
  words that it is written with. words: the folder of those."""
  opened = gzip.open if file.endswith(".gz") else open
  with opened(file, "rt", encoding="utf-8") as f:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(f.read()))
  own = transformers.AutoTokenizer.from_pretrained(words)
  special = sorted({own.bos_token, own.eos_token})
  tokenizer.add_special_tokens({"additional_special_tokens": special})
  tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = own.bos_token, own.eos_token, own.eos_token
  tokenizer.chat_template = own.chat_template
  model = transformers.AutoModelForCausalLM.from_pretrained(folder)
  old = model.get_input_embeddings().weight.detach().clone()
  pieces = [own(tokenizer.decode([i]), add_special_tokens=False)["input_ids"] for i in range(len(tokenizer))]
  rows = torch.stack([old[ids].mean(0) if ids else old.mean(0) for ids in pieces])
  model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
  model.get_input_embeddings().weight.data.copy_(rows)
  for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
    setattr(model.config, name, getattr(tokenizer, name))
    setattr(model.generation_config, name, getattr(tokenizer, name))
  model.save_pretrained(out)
  tokenizer.save_pretrained(out)


def main() -> None:
  """Reads the flags, trains, prints the comparisons."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--data", default="starter:train", metavar="FILE", help="rows; a tenth of them is held out")
  parser.add_argument("--model", default="smollm2-135m-instruct", help="the teacher's base, and the student's layers")
  parser.add_argument("--adapter", default="", help="a tuned teacher; without one it is tuned first")
  parser.add_argument("--tokenizer", default="", metavar="FILE", help="tokenizer.json of the other words, may be .gz")
  parser.add_argument("--steps", type=int, default=100)
  parser.add_argument("--rate", type=float, default=3e-4, help="of the students' steps (default: 3e-4)")
  parser.add_argument("--out", default="", help="where runs go")
  print(json.dumps(distill(parser.parse_args())), flush=True)


if __name__ == "__main__":
  main()
