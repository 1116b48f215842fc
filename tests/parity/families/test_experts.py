"""peft's LoRA on stacked expert parameters, live, in ours and back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from itune_jax.core import errors  # noqa: E402
from itune_jax.core import rng  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO, LIMIT = transformers.AutoModelForCausalLM, 1e-4


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe"])
@pytest.mark.parametrize("names", [["gate_up_proj", "down_proj"], ["down_proj"]], ids="+".join)
def test_target_parameters(family, names, tmp_path):
  theirs = common.make_theirs(families.CASES[family], AUTO)
  theirs.save_pretrained(tmp_path / "hf")
  ours = common.open_ours(tmp_path / "hf")
  layout, ids = (
    layout_lib.Layout.of(ours.cfg),
    np.random.RandomState(0).randint(3, ours.cfg.vocab, (2, 24)).astype(np.int32),
  )
  config = peft.LoraConfig(
    r=3,
    lora_alpha=12,
    target_modules=["q_proj"],
    target_parameters=[f"mlp.experts.{name}" for name in names],
    alpha_pattern={"q_proj": 6},
  )
  model = peft.get_peft_model(theirs, config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.requires_grad:
        parameter += 0.2 * torch.randn_like(parameter)
    expected = model(torch.tensor(ids, dtype=torch.long)).logits.numpy()
  model.save_pretrained(str(tmp_path / "theirs"))

  def read(folder):
    methods, values = exchange.load(str(folder), ours.module, layout)
    attached = attach.attach(ours.module, ours.params, methods, rng.root(1), mesh=tiny.mesh(1))
    params = {**attached.params, **exchange.fill(attached, values)}
    return attach.Attached(attached.module, params, attached.trainable, attached.methods)

  batch = common.rows_of(ids)
  mine = read(tmp_path / "theirs")
  found = np.asarray(tiny.logits(mine, batch))
  assert np.abs(found - np.asarray(tiny.logits(ours, batch))).max() > 0.01 * np.ptp(found)
  assert common.relative(found, expected) < LIMIT
  exchange.save(str(tmp_path / "ours"), mine, layout, base=str(tmp_path / "hf"))
  again = peft.PeftModel.from_pretrained(
    AUTO.from_pretrained(tmp_path / "hf", dtype=torch.float32, attn_implementation="eager"), str(tmp_path / "ours")
  ).eval()
  with torch.no_grad():
    back = again(torch.tensor(ids, dtype=torch.long)).logits.numpy()
  assert common.relative(back, expected) < LIMIT


def test_other_parameters_are_refused_by_name(tmp_path):
  ours = common.make_theirs(families.CASES["llama"], AUTO)
  ours.save_pretrained(tmp_path / "hf")
  base = common.open_ours(tmp_path / "hf")
  model = peft.get_peft_model(ours, peft.LoraConfig(r=2, target_parameters=["mlp.gate_proj.weight"], target_modules=[]))
  model.save_pretrained(str(tmp_path / "a"))
  with pytest.raises(errors.InputError, match=r"mlp.gate_proj.weight.*supported are.*this model has no experts"):
    exchange.load(str(tmp_path / "a"), base.module, layout_lib.Layout.of(base.cfg))
