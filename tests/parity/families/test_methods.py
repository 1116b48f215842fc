"""Every method that peft knows, both ways and live: our adapter in peft, and peft's own in ours."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import optax  # noqa: E402
import safetensors.numpy  # noqa: E402

from itune_jax.core import rng  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.methods import adalora  # noqa: E402
from itune_jax.peft.methods import boft  # noqa: E402
from itune_jax.peft.methods import c3a  # noqa: E402
from itune_jax.peft.methods import delora  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from itune_jax.peft.methods import fourierft  # noqa: E402
from itune_jax.peft.methods import full  # noqa: E402
from itune_jax.peft.methods import gralora  # noqa: E402
from itune_jax.peft.methods import hira  # noqa: E402
from itune_jax.peft.methods import hra  # noqa: E402
from itune_jax.peft.methods import ia3  # noqa: E402
from itune_jax.peft.methods import loha  # noqa: E402
from itune_jax.peft.methods import lokr  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.peft.methods import miss  # noqa: E402
from itune_jax.peft.methods import oft  # noqa: E402
from itune_jax.peft.methods import prefix  # noqa: E402
from itune_jax.peft.methods import prompt  # noqa: E402
from itune_jax.peft.methods import randlora  # noqa: E402
from itune_jax.peft.methods import road  # noqa: E402
from itune_jax.peft.methods import shira  # noqa: E402
from itune_jax.peft.methods import tokens  # noqa: E402
from itune_jax.peft.methods import vblora  # noqa: E402
from itune_jax.peft.methods import vera  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402
from tests.parity.families.common import relative  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO, LIMIT = transformers.AutoModelForCausalLM, 1e-4
QV = r"blocks/\d+/(attn/(q|v)|mlp/down)"
TARGETS = ["q_proj", "v_proj", "down_proj"]
# name: (ours, peft's config, or None where peft is not asked for one)
TABLE = {
  "lora": (
    lora.Lora(rank=4, sites=QV, rank_pattern={r"blocks/1/.*": 2}, alpha_pattern={r".*/q": 3.0}),
    lambda: peft.LoraConfig(r=4, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}, init_lora_weights=False),
  ),
  "rslora": (lora.Lora(rank=4, rslora=True, sites=QV), lambda: peft.LoraConfig(r=4, use_rslora=True)),
  "dora": (lora.Lora(rank=4, dora=True, sites=QV), lambda: peft.LoraConfig(r=4, use_dora=True)),
  "lora bias": (lora.Lora(rank=4, lora_bias=True, sites=QV), lambda: peft.LoraConfig(r=4, lora_bias=True)),
  "pissa": (lora.Lora(rank=4, init="pissa", sites=QV), None),
  "olora": (lora.Lora(rank=4, init="olora", rslora=True, sites=QV), None),
  "embeddings": (
    lora.Lora(rank=4, sites=r"embed|head|blocks/\d+/attn/q"),
    lambda: peft.LoraConfig(r=4, target_modules=["embed_tokens", "q_proj", "lm_head"]),
  ),
  "some layers": (
    lora.Lora(rank=4, sites=r"blocks/1/attn/q"),
    lambda: peft.LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[1]),
  ),
  "biases": ((lora.Lora(rank=4, sites=QV), full.Full(params=r".*/bias")), lambda: peft.LoraConfig(r=4, bias="all")),
  "saved modules": (
    (lora.Lora(rank=4, sites=QV), full.Full(params=r"head/kernel|norm/scale")),
    lambda: peft.LoraConfig(r=4, modules_to_save=["lm_head", "norm"]),
  ),
  "norms": (
    full.Full(params=r"blocks/attn_norm/scale|norm/scale"),
    lambda: peft.LNTuningConfig(target_modules=["input_layernorm", "norm"]),
  ),
  "tokens": (
    tokens.Tokens(ids=(3, 9)),
    lambda: peft.TrainableTokensConfig(token_indices=[9, 3], target_modules=["embed_tokens"]),
  ),
  "ia3": (
    ia3.Ia3(),
    lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
  ),
  "vera": (vera.Vera(rank=8, sites=QV), lambda: peft.VeraConfig(r=8)),
  "adalora": (
    adalora.AdaLora(rank=4, target=2, sites=QV),
    lambda: peft.AdaLoraConfig(init_r=4, target_r=2, total_step=10),
  ),
  "loha": (loha.Loha(rank=4, sites=QV, rank_pattern={r".*/q": 2}), lambda: peft.LoHaConfig(r=4, alpha=3)),
  "lokr": (lokr.Lokr(rank=2, sites=QV), lambda: peft.LoKrConfig(r=2, alpha=3)),
  "lokr both": (lokr.Lokr(rank=2, both=True, sites=QV), lambda: peft.LoKrConfig(r=2, alpha=3, decompose_both=True)),
  "hira": (hira.Hira(rank=4, sites=QV), lambda: peft.HiraConfig(r=4)),
  "oft": (oft.Oft(block_size=8, sites=QV), lambda: peft.OFTConfig(r=0, oft_block_size=8)),
  "oft exact": (
    oft.Oft(block_size=8, terms=0, share=True, sites=QV),
    lambda: peft.OFTConfig(r=0, oft_block_size=8, use_cayley_neumann=False, block_share=True),
  ),
  "boft": (boft.Boft(sites=QV), lambda: peft.BOFTConfig(boft_block_size=4)),
  "hra": (hra.Hra(rank=4, sites=QV), lambda: peft.HRAConfig(r=4)),
  "hra orthogonal": (hra.Hra(rank=4, orthogonal=True, sites=QV), lambda: peft.HRAConfig(r=4, apply_GS=True)),
  "miss": (miss.Miss(rank=8, sites=QV), lambda: peft.MissConfig(r=7)),
  "miss bat": (miss.Miss(rank=8, bat=True, sites=QV), lambda: peft.MissConfig(r=8, init_weights="bat")),
  "miss mini": (miss.Miss(rank=8, mini=4, sites=QV), lambda: peft.MissConfig(r=8, mini_r=4, init_weights="mini")),
  "randlora": (randlora.RandLora(rank=4, alpha=8, sites=QV), lambda: peft.RandLoraConfig(r=4, randlora_alpha=8)),
  "shira": (shira.Shira(rank=4, sites=QV), lambda: peft.ShiraConfig(r=4)),
  "fourierft": (
    fourierft.FourierFT(coefficients=20, seed=5, sites=QV),
    lambda: peft.FourierFTConfig(n_frequency=20, random_loc_seed=9),
  ),
  "c3a": (c3a.C3a(block=8, sites=QV), lambda: peft.C3AConfig(block_size=8)),
  **{
    kind: (road.Road(variant=kind, group=8, sites=QV), lambda kind=kind: peft.RoadConfig(variant=kind, group_size=8))
    for kind in ("road_1", "road_2", "road_4")
  },
  "delora": (delora.Delora(rank=4, sites=QV), lambda: peft.DeloraConfig(r=4)),
  "gralora": (gralora.Gralora(rank=4, hybrid=2, sites=QV), lambda: peft.GraloraConfig(r=4, hybrid_r=2, gralora_k=2)),
  "vblora": (
    vblora.VbLora(rank=4, vectors=16, length=8, sites=QV),
    lambda: peft.VBLoRAConfig(r=4, num_vectors=16, vector_length=8),
  ),
}


# Learned tokens in front: peft's logits have them in front too.
LEADS = {
  "prefix": (
    prefix.Prefix(count=5, scale=1.0),
    lambda: peft.PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
  ),
  "prefix mlp": (
    prefix.Prefix(count=5, hidden=12),
    lambda: peft.PrefixTuningConfig(
      num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=12, task_type="CAUSAL_LM"
    ),
  ),
  "prompt": (
    prompt.Prompt(count=5, scale=1.0),
    lambda: peft.PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
  ),
  "p-tuning": (
    prompt.Prompt(count=5, hidden=12),
    lambda: peft.PromptEncoderConfig(
      num_virtual_tokens=5, encoder_hidden_size=12, encoder_reparameterization_type="MLP", task_type="CAUSAL_LM"
    ),
  ),
}
TABLE |= LEADS


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """A model with biases at its projections, so that whoever forgets them is caught."""
  fields = {**families.CASES["qwen2"], "tie_word_embeddings": False}
  theirs = common.make_theirs(fields, AUTO)
  folder = tmp_path_factory.mktemp("qwen2") / "hf"
  theirs.save_pretrained(folder)
  return common.open_ours(folder), str(folder)


def tokens_of(cfg):
  return np.random.RandomState(0).randint(0, cfg.vocab, (2, 24)).astype(np.int32)


def their_logits(model, ids):
  with torch.no_grad():
    return model(torch.tensor(ids, dtype=torch.long)).logits.numpy()[:, -ids.shape[1] :]


def their_base(folder):
  return AUTO.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def read(folder, ours, layout):
  methods, values = exchange.load(folder, ours.module, layout)
  again = attach.attach(ours.module, ours.params, methods, rng.root(1), mesh=tiny.mesh(1))
  params = {**again.params, **exchange.fill(again, values)}
  return attach.Attached(again.module, params, again.trainable, again.methods, again.constants)


@pytest.mark.parametrize("name", TABLE)
def test_method_both_ways(name, pair, tmp_path):
  ours, folder = pair
  methods, config = TABLE[name]
  layout, ids = layout_lib.Layout.of(ours.cfg), tokens_of(ours.cfg)
  batch = common.rows_of(ids)
  methods = methods if isinstance(methods, tuple) else (methods,)
  attached = tiny.randomise(attach.attach(ours.module, ours.params, methods, rng.root(0), mesh=tiny.mesh(1)))
  found, plain = np.asarray(tiny.logits(attached, batch)), np.asarray(tiny.logits(ours, batch))
  moved = np.abs(found - plain).max() / (plain.max() - plain.min())
  assert moved > 1e-3, f"{name}: the adapter moves the logits by {moved:.1e} only: nothing would be tested"
  # Ours in theirs.
  exchange.save(str(tmp_path / "a"), attached, layout, base=folder)
  written = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
  kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[written["peft_type"]]
  assert set(written) <= {f.name for f in dataclasses.fields(kind)}, "peft knows no such option"
  model = peft.PeftModel.from_pretrained(their_base(folder), str(tmp_path / "a")).eval()
  there = relative(found, their_logits(model, ids))
  back = relative(np.asarray(tiny.logits(read(str(tmp_path / "a"), ours, layout), batch)), found)
  # Theirs in ours, and again as a file: the same tensors.
  mine = 0.0
  if config is not None:
    made = config()
    if name not in LEADS:
      made.target_modules = made.target_modules or TARGETS
    torch.manual_seed(0)
    model = peft.get_peft_model(their_base(folder), made).eval()
    with torch.no_grad():
      for parameter in model.parameters():
        if parameter.requires_grad:
          parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(str(tmp_path / "b"))
    again = read(str(tmp_path / "b"), ours, layout)
    mine = relative(np.asarray(tiny.logits(again, batch)), their_logits(model, ids))
    exchange.save(str(tmp_path / "c"), again, layout, base=folder)
    saved = safetensors.numpy.load_file(str(tmp_path / "c" / "adapter_model.safetensors"))
    for key, tensor in safetensors.numpy.load_file(str(tmp_path / "b" / "adapter_model.safetensors")).items():
      if key in saved and name != "tokens":  # theirs are in the order of the config, ours in rising order
        np.testing.assert_allclose(saved[key], tensor, atol=1e-6)
  common.METHODS[name] = {"in peft": there, "back": back, "peft's": mine}
  assert max(there, back, mine) <= LIMIT


def test_adalora_cuts_what_peft_cuts(pair, tmp_path):
  """The same gradients for twelve steps: after each, the same directions are left."""
  ours, folder = pair
  steps = 12
  config = peft.AdaLoraConfig(
    init_r=4, target_r=2, tinit=2, tfinal=3, deltaT=2, total_step=steps, target_modules=TARGETS, lora_alpha=8
  )
  torch.manual_seed(0)
  theirs = peft.get_peft_model(their_base(folder), config)
  theirs.save_pretrained(str(tmp_path / "a"))
  attached = read(str(tmp_path / "a"), ours, layout_lib.Layout.of(ours.cfg))
  method = adalora.AdaLora(rank=4, target=2, warmup=2, final=3, every=2, sites=attached.methods[0].sites)
  params = {n: attached.params[n] for n in attached.trainable}
  optimizer = method.transform(optax.sgd(0.1), steps)
  state, update = optimizer.init(params), jax.jit(optimizer.update)
  named = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
  rs, left = np.random.RandomState(0), []
  for step in range(1, steps + 1):
    grads = {}
    for name, p in params.items():
      site, leaf = name.split("/adapters/")[0].split("/")[1:], name[-1]
      block = {"attn": "self_attn", "mlp": "mlp"}[site[0]]
      grad = rs.randn(*p.shape).astype(np.float32)
      for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.{block}.{site[1]}_proj.lora_{leaf.upper()}.default"
        flat = grad[layer].reshape(-1, 4).T if leaf == "a" else grad[layer].reshape(4, -1)
        named[key].grad = torch.tensor(flat.T.copy() if leaf == "b" else flat.copy()).reshape(named[key].shape)
      grads[name] = grad
    updates, state = update(grads, state, params)
    params = optax.apply_updates(params, updates)
    with torch.no_grad():
      for p in named.values():
        p -= 0.1 * p.grad
    # peft masks at every step behind total - final; its `update_and_allocate` calls that by hand at the last only.
    theirs.base_model.rankallocator.update_and_allocate(theirs.base_model.model, step)
    ours_left = np.concatenate([np.asarray(params[n]).reshape(-1) != 0 for n in sorted(params) if n.endswith("/e")])
    theirs_left = sum(int((p != 0).sum()) for n, p in named.items() if "lora_E" in n)
    left.append(int(ours_left.sum()))
    assert left[-1] == theirs_left, step
    for name in sorted(n for n in params if n.endswith("/e")):
      site = name.split("/adapters/")[0].split("/")[1:]
      block = {"attn": "self_attn", "mlp": "mlp"}[site[0]]
      for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.{block}.{site[1]}_proj.lora_E.default"
        np.testing.assert_allclose(np.asarray(params[name])[layer], named[key].detach().numpy()[:, 0], atol=1e-5)
  print("\nadalora: directions left", left)
  assert left[0] == 24 and left[-1] == 12
