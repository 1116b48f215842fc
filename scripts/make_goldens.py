"""Rewrites the committed goldens. Look at the diff before you commit it.

make_goldens.py chat        rendered rows, from the code as it is
make_goldens.py reading     what rows of every format are read as
make_goldens.py families    logits of a tiny model of every family, from transformers (needs the parity environment)
make_goldens.py models      docs/models.md, from the zoo and the figures that scripts/test.sh parity left behind
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import transformers

sys.path.insert(0, ".")

from itune_jax.data.render import chat  # noqa: E402
from itune_jax.data.render import tokenizer  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from tests.data import test_reading_version  # noqa: E402
from tests.data.render import test_chat  # noqa: E402
from tests.models import doc  # noqa: E402
from tests.models import families as cases  # noqa: E402
from tests.models import folders  # noqa: E402

try:
  import torch  # only `families` needs it
except ImportError:
  torch = None


def chat_rows() -> None:
  """tests/golden/chat_smollm2.json."""
  renderer = chat.Renderer(tokenizer.load(specs.resolve("smollm2-135m-instruct")))
  rows = [[r.ids.tolist(), r.weights.tolist()] for case in test_chat.CASES for r in renderer.render(case)]
  golden = {"version": chat.RENDER_VERSION, "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}
  test_chat.GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
  print(f"wrote {test_chat.GOLDEN}")


def reading() -> None:
  """tests/golden/reading.json."""
  test_reading_version.GOLDEN.write_text(json.dumps(test_reading_version.found(), indent=2) + "\n")
  print(f"wrote {test_reading_version.GOLDEN}")


def families() -> None:
  """tests/golden/families.json: logits of the last position, and a digest of all, by case."""
  if torch is None:
    sys.exit("torch is missing: bash scripts/test.sh parity installs it")
  found = {}
  for case in folders.EVERY:
    kind = "vlm" if case in cases.VLM else "encdec" if case in cases.ENCDEC else "decoder"
    auto = {
      "vlm": transformers.AutoModelForImageTextToText,
      "encdec": transformers.AutoModelForSeq2SeqLM,
      "decoder": transformers.AutoModelForCausalLM,
    }[kind]
    with tempfile.TemporaryDirectory() as tmp:
      folder = folders.write(case, pathlib.Path(tmp) / "m")
      model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    batch = folders.inputs(case)
    tokens = torch.tensor(batch.tokens_BT).long()
    given = {"input_ids": tokens}
    if kind == "encdec":
      n = int(batch.prefix_BT.sum())
      given = {"input_ids": tokens[:, :n], "decoder_input_ids": torch.cat([tokens[:, :1] * 0, tokens[:, n:]], 1)}
    if batch.images is not None:
      given["pixel_values"] = torch.tensor(batch.images[0].transpose(0, 3, 1, 2))
    if case.startswith("paligemma"):
      given["token_type_ids"] = torch.tensor(1 - batch.prefix_BT).long()
    with torch.no_grad():
      found[case] = [round(float(x), 5) for x in model(**given).logits[0, -1]]
  path = pathlib.Path("tests/golden/families.json")
  path.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")
  print(f"wrote {path}")


def models() -> None:
  """docs/models.md."""
  path = pathlib.Path("docs/models.md")
  path.write_text(doc.page())
  print(f"wrote {path}")


if __name__ == "__main__":
  {"chat": chat_rows, "reading": reading, "families": families, "models": models}[
    sys.argv[1] if len(sys.argv) > 1 else "chat"
  ]()
