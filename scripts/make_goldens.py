"""Rewrites the committed goldens from the code as it is. Look at the diff before you commit it."""

import hashlib
import json
import sys

sys.path.insert(0, ".")

from itune_jax.data import chat  # noqa: E402
from itune_jax.data import tokenizer  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from tests.data import test_chat  # noqa: E402


def main() -> None:
  """Writes tests/golden/*.json."""
  renderer = chat.Renderer(tokenizer.load(specs.resolve("smollm2-135m-instruct")))
  rows = [[r.ids.tolist(), r.weights.tolist()] for case in test_chat.CASES for r in renderer.render(case)]
  golden = {"version": chat.RENDER_VERSION, "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}
  test_chat.GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
  print(f"wrote {test_chat.GOLDEN}")


if __name__ == "__main__":
  main()
