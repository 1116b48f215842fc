"""EVA against peft's own, live, on one batch: the same directions and the same ranks."""

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import axes  # noqa: E402
from itune_jax.objectives import sft  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.run import calibrate  # noqa: E402
from itune_jax.run import session as session_lib  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO = transformers.AutoModelForCausalLM


def test_directions_and_ranks(tmp_path, monkeypatch):
  theirs = common.make_theirs(families.CASES["qwen2"], AUTO)
  theirs.save_pretrained(tmp_path / "hf")
  ours = common.open_ours(tmp_path / "hf")
  ids = np.random.RandomState(3).randint(0, ours.cfg.vocab, (6, 40)).astype(np.int32)
  # peft draws random vectors for its SVD and stops where two passes agree: all of the spectrum is exact.
  exact = lambda self, x: torch.linalg.svd(x, full_matrices=False)
  monkeypatch.setattr("peft.utils.incremental_pca.IncrementalPCA._svd_fn_lowrank", exact)
  config = peft.LoraConfig(
    r=3,
    lora_alpha=6,
    target_modules=["q_proj", "v_proj", "down_proj"],
    init_lora_weights="eva",
    eva_config=peft.EvaConfig(rho=2.0, tau=0.99, use_label_mask=False),
  )
  model = peft.get_peft_model(copy.deepcopy(theirs), config)
  data = [{"input_ids": torch.tensor(ids, dtype=torch.long), "attention_mask": torch.ones(ids.shape)}]
  expected = peft.get_eva_state_dict(model, data, show_progress_bar=False)

  method = lora.Lora(rank=3, alpha=6.0, init="eva", rho=2.0, batches=1, sites=r"blocks/\d+/(attn/(q|v)|mlp/down)")
  attached, mesh = tiny.attach(ours, method), tiny.mesh(1)
  bind = tiny.binder(attached.module)
  session = session_lib.Session(None, mesh, axes.DEFAULT_RULES, None, ours, attached, bind, None)
  batch = dataclasses.replace(common.rows_of(ids), targets_BT=ids, weights_BT=np.ones(ids.shape, np.float32))
  cut = lambda k: jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
  session = calibrate.from_data(session, sft.Sft(chunk=16), cut, 0, jnp.float32)
  (found,) = session.attached.methods
  names = {"q_proj": "attn/q", "v_proj": "attn/v", "down_proj": "mlp/down"}
  ranks = {}
  for module, a in expected.items():
    layer, leaf = int(module.split(".layers.")[1].split(".")[0]), names[module.split(".")[-1]]
    site = f"blocks/{layer}/{leaf}"
    ranks[site] = a.shape[0]
    mine = np.asarray(session.attached.params[f"blocks/{leaf}/adapters/lora/a"])[layer]
    mine = mine.reshape(-1, mine.shape[-1])[:, : a.shape[0]].T
    along = np.abs(np.sum(mine * a.numpy(), 1))
    assert np.all(along > 0.999), (site, along)
    assert found.scale_of(site) == 2.0
  # Layers with equal inputs tie: peft gives the rest to either of them.
  assert sum(ranks.values()) == sum(found.rank_of(site) for site in ranks) == 3 * len(ranks)
  assert [ranks[f"blocks/{i}/mlp/down"] for i in range(2)] == [found.rank_of(f"blocks/{i}/mlp/down") for i in range(2)]
  assert len(set(ranks.values())) > 1
