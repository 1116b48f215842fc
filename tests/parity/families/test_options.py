"""Options of peft's LoRA, drawn at random, on tied and untied bases: read as peft reads them, and written so.

What trains is moved at random, saved by peft, read here and compared with the folder opened again in peft; then written
here and opened in peft once more. And every field of peft's configs stands in our table.
"""

import dataclasses
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402

from itune_jax.core import errors  # noqa: E402
from itune_jax.core import rng  # noqa: E402
from itune_jax.models import load  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from itune_jax.peft.folders import options  # noqa: E402
from itune_jax.run.commands import reread  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO, LIMIT = transformers.AutoModelForCausalLM, 1e-4
IDS = np.random.RandomState(0).randint(3, 96, (2, 16)).astype(np.int32)
CASES = {
  "tied": {**families.CASES["llama"], "tie_word_embeddings": True},
  "untied": {**families.CASES["qwen2"], "tie_word_embeddings": False},
  "tied gemma": {**families.CASES["gemma"], "tie_word_embeddings": True},
}


@pytest.mark.parametrize("kind", sorted(options.TABLE))
def test_every_field_of_pefts_configs_is_in_a_table(kind):
  fields = {field.name for field in dataclasses.fields(peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
  assert not fields - set(options.TABLE[kind]), "peft has options that are in no table"
  assert set(options.TABLE) == {*(k.peft_type for _, k in exchange._kinds().values()), "P_TUNING"}


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("base") / "hf"
  common.make_theirs(CASES[request.param], AUTO).save_pretrained(folder)
  ours = common.open_ours(folder)
  return ours, load.untied(ours) if ours.cfg.tied else ours, str(folder), request.param


def their_base(folder):
  return AUTO.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def their_logits(model):
  with torch.no_grad():
    return model.eval()(torch.tensor(IDS, dtype=torch.long)).logits.numpy()


def read(folder, pair):
  """A folder on our base, its tables parted where peft parts them."""
  ours, parted, _, _ = pair
  methods, values = exchange.load(folder, ours.module, layout_lib.Layout.of(ours.cfg))
  base = parted if values.untied else ours
  attached = attach.attach(base.module, base.params, methods, rng.root(1), mesh=tiny.mesh(1))
  params = {**attached.params, **exchange.fill(attached, values)}
  return base, attach.Attached(attached.module, params, attached.trainable, attached.methods, attached.constants)


def drawn(seed: int, tied: bool) -> dict:
  """A LoraConfig's arguments."""
  draw = random.Random(seed)
  maybe = lambda chance, value, other: value if draw.random() < chance else other
  targets = draw.sample(
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], draw.randint(1, 4)
  )
  init = draw.choice([False, False, "gaussian", "orthogonal", "pissa", "olora"])
  subtracts = init in ("pissa", "olora")
  dora = draw.random() < 0.25
  tables = (
    [] if subtracts or dora else draw.choice([[], [], ["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
  )
  saved = draw.choice([[], [], ["norm"], ["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
  saved = [name for name in saved if name not in tables]
  tokens = sorted(draw.sample(range(96), 3)) if not saved and not tables and draw.random() < 0.3 else None
  given = {
    "r": draw.choice([2, 4, 6]),
    "lora_alpha": draw.choice([1, 3, 16]),
    "target_modules": targets + tables,
    "use_rslora": draw.random() < 0.3,
    "use_dora": dora,
    "lora_bias": not dora and not tables and not subtracts and draw.random() < 0.2,
    "bias": "none",
    "init_lora_weights": init,
    # One pattern for a module: peft writes them sorted, and reads them in that order.
    "rank_pattern": maybe(0.3, draw.choice([{targets[0]: 2}, {r"layers\.1\..*": 4}]), {}),
    "alpha_pattern": maybe(0.3, draw.choice([{targets[-1]: 5}, {r"layers.0.*": 7}]), {}),
    "layers_to_transform": None if tables else maybe(0.2, [1], None),
    "exclude_modules": maybe(
      0.15, [f"layers.0.{'self_attn' if t[0] in 'qkvo' else 'mlp'}.{t}" for t in targets[1:2]], None
    ),
    "modules_to_save": saved or None,
    "trainable_token_indices": tokens,
  }
  if tied and saved in (["embed_tokens"], ["lm_head"]) and not tables:
    given["ensure_weight_tying"] = draw.random() < 0.4
  if not tied or not tokens:
    return given
  return {**given, "ensure_weight_tying": draw.random() < 0.4}


def check(seed, pair, tmp_path):
  ours, _, folder, _ = pair
  config = peft.LoraConfig(**drawn(seed, ours.cfg.tied))
  torch.manual_seed(seed)
  model = peft.get_peft_model(their_base(folder), config)
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.requires_grad:
        parameter += 0.05 * torch.randn_like(parameter)
  model.save_pretrained(str(tmp_path / "a"))
  expected = their_logits(peft.PeftModel.from_pretrained(their_base(folder), str(tmp_path / "a")))
  base, attached = read(str(tmp_path / "a"), pair)
  found = np.asarray(tiny.logits(attached, common.rows_of(IDS)))
  layout = layout_lib.Layout.of(ours.cfg)
  exchange.save(str(tmp_path / "b"), attached, layout, base=folder)
  written = their_logits(peft.PeftModel.from_pretrained(their_base(folder), str(tmp_path / "b")))
  plain = reread.adapter(str(tmp_path / "b"), ours, jax.devices()[0])
  figures = {"read": common.relative(found, expected), "written": common.relative(found, written)}
  if plain is not None:
    again = np.asarray(tiny.logits(attach.Attached(plain[0], plain[1], frozenset(), ()), common.rows_of(IDS)))
    figures["read again"] = common.relative(again, found)
  assert max(figures.values()) <= LIMIT, (figures, drawn(seed, ours.cfg.tied))
  return base


@pytest.mark.parametrize("seed", range(8))
def test_random_options(seed, pair, tmp_path):
  check(seed, pair, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(8, 48))
def test_more_random_options(seed, pair, tmp_path):
  check(seed, pair, tmp_path)


@pytest.mark.parametrize("init", ["pissa_niter_4", "loftq"])
def test_what_cannot_be_made_again_is_refused(init, pair, tmp_path):
  ours, _, folder, _ = pair
  config = peft.LoraConfig(r=2, target_modules=["q_proj"])
  peft.get_peft_model(their_base(folder), config).save_pretrained(str(tmp_path / "a"))
  path = tmp_path / "a" / "adapter_config.json"
  path.write_text(path.read_text().replace('"init_lora_weights": true', f'"init_lora_weights": "{init}"'))
  with pytest.raises(errors.InputError, match=f"init_lora_weights = '{init}'"):
    exchange.load(str(tmp_path / "a"), ours.module, layout_lib.Layout.of(ours.cfg))
