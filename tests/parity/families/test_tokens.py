"""LoRA with rows of new tokens as a PEFT folder: exported by the command's own code, read by peft, and back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from itune_jax.core import files  # noqa: E402
from itune_jax.data.render import chat  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.run.commands import export  # noqa: E402
from itune_jax.run import session as session_lib  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import folders  # noqa: E402
from tests.parity.families.common import relative  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("case", ["llama", "qwen3", "gemma2"])
def test_new_tokens_through_peft(case, tmp_path):
  """Tied and untied tables, scaled embeddings, softcapped logits; two tokens behind the vocabulary."""
  folder = folders.write(case, tmp_path / "hf")
  folders.write_tokenizer(folder)
  model = specs.Model(base=str(folder), special_tokens=("<think>", "<done>"))
  session = session_lib.open_session(model, (lora.Lora(rank=3),))
  session = session.with_arrays(tiny.randomise(session.attached, scale=0.2).params)
  manifest = export.write(session, chat.Rendering(), format="peft", dtype="float32", out=str(tmp_path / "a"))
  assert manifest["logit_parity"] <= 1e-6
  base = files.read_json(str(tmp_path / "a" / "adapter_config.json"))["base_model_name_or_path"]
  theirs = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
  theirs = peft.PeftModel.from_pretrained(theirs, str(tmp_path / "a")).eval()
  tokens = np.r_[np.random.RandomState(0).randint(3, 90, 20), 96, 97, 5, 96][None].astype(np.int32)
  ours = export.logits(session.binder, session.attached.params, tokens)
  with torch.no_grad():
    expected = theirs(torch.tensor(tokens).long()).logits.numpy()
  again = session_lib.open_session(specs.Model(base=base), adapter=str(tmp_path / "a"))
  back = export.logits(again.binder, again.attached.params, tokens)
  print(f"new tokens {case}: in peft {relative(ours, expected):.1e}, and back {relative(back, ours):.1e}")
  assert ours.shape == expected.shape and relative(ours, expected) <= 1e-4 and relative(back, ours) <= 1e-6
