"""Vision-language models against transformers: two rows, one with an image and one with two."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import batch as batch_lib  # noqa: E402
from itune_jax.core import rng  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.models import load  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.nn import skeleton  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402
from tests.parity.families.common import FORWARD, GRADIENT, record, relative  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
AUTO = transformers.AutoModelForImageTextToText
T, PREFIX, IMAGE, PATCHES = 50, 42, 90, 16


def rows():
  rs = np.random.RandomState(0)
  tokens = rs.randint(3, 89, (2, T)).astype(np.int32)
  tokens[0, 2 : 2 + PATCHES] = IMAGE
  for start in (1, 20):
    tokens[1, start : start + PATCHES] = IMAGE
  return tokens, rs.randn(3, 16, 16, 3).astype(np.float32)


def batch_of(tokens, start=0, images=None):
  positions = np.broadcast_to(np.arange(start, start + tokens.shape[1], dtype=np.int32), tokens.shape)
  prefix = (positions < PREFIX).astype(np.int32)
  if images is not None:  # one image in the first row, two in the second
    images = np.stack([np.stack([images[0], np.zeros_like(images[0])]), images[1:]])
  return batch_lib.Batch(tokens, None, None, np.ones_like(tokens), positions, prefix, images)


def theirs_logits(model):
  tokens, images = rows()
  more = {}
  if model.config.model_type == "paligemma":
    more["token_type_ids"] = torch.tensor((np.arange(T) >= PREFIX)[None].repeat(2, 0)).long()
  pixels = torch.tensor(images.transpose(0, 3, 1, 2))
  return model(input_ids=torch.tensor(tokens).long(), pixel_values=pixels, **more).logits


def ours_logits(attached, params=None):
  tokens, images = rows()
  return np.asarray(tiny.logits(attached, batch_of(tokens, images=images), params=params))


@pytest.fixture(scope="module", params=list(families.VLM))
def pair(request, tmp_path_factory):
  theirs = common.make_theirs(families.VLM[request.param], AUTO)
  with torch.no_grad():
    for p in theirs.parameters():
      if p.ndim > 1:
        p *= 2
  folder = tmp_path_factory.mktemp(request.param) / "hf"
  theirs.save_pretrained(folder)
  yield request.param, theirs, common.open_ours(folder), folder
  print(common.line(request.param))


def test_forward(pair):
  case, theirs, ours, _ = pair
  with torch.no_grad():
    expected = theirs_logits(theirs).numpy()
  record(case, "forward", relative(ours_logits(ours), expected), FORWARD)


def test_cached_decoding(pair):
  """Prefill of the prefix with its images, then token by token, against the forward pass of transformers."""
  case, theirs, ours, _ = pair
  tokens, images = rows()
  bind, cache = tiny.binder(ours.module), ours.module.empty_cache(2, 64)

  @jax.jit
  def step(params, batch, cache):
    model = bind(params)
    ctx = model.context(batch)
    hidden, cache = model.decode(batch.tokens_BT, ctx, cache)
    return model.project(hidden, ctx), cache

  logits, cache = step(ours.params, batch_of(tokens[:, :PREFIX], images=images), cache)
  found = [logits]
  for t in range(PREFIX, T):
    batch = dataclasses.replace(batch_of(tokens[:, t : t + 1], t), prefix_BT=None)
    logits, cache = step(ours.params, batch, cache)
    found.append(logits)
  with torch.no_grad():
    expected = theirs_logits(theirs).numpy()
  record(case, "cached", relative(np.concatenate(found, 1), expected), FORWARD)


def test_export(pair, tmp_path):
  case, theirs, ours, _ = pair
  worst = 0.0
  for config_json in (ours.config_json, None):
    folder = tmp_path / f"out{config_json is None}"
    load.save_hf(str(folder), ours.module, ours.params, config_json=config_json)
    again = common.reload(AUTO, folder)
    with torch.no_grad():
      worst = max(worst, relative(theirs_logits(again).numpy(), theirs_logits(theirs).numpy()))
  record(case, "export", worst, FORWARD)


def test_gradients(pair):
  """Of the loss behind the prefix, with respect to a matrix of the text, of the image encoder, and the projector."""
  case, theirs, ours, _ = pair
  rows_by = {row.ours: row for row in layout_lib.parameters(ours.params, ours.cfg, skeleton.sites(ours.module))}
  chosen = ["blocks/mlp/down/kernel", "vision/blocks/mlp/up/kernel", "projector/first/kernel"]
  bind = tiny.binder(ours.module)
  tokens, images = rows()

  def loss(some):
    model = bind({**ours.params, **some})
    ctx = model.context(batch_of(tokens, images=images))
    logits = model.project(model.hidden(tokens, ctx)[0], ctx)[:, PREFIX - 1 : -1]
    target = jax.nn.one_hot(tokens[:, PREFIX:], logits.shape[-1])
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), -1))

  grads = jax.jit(jax.grad(loss))({n: ours.params[n] for n in chosen})
  theirs.zero_grad()
  logits = theirs_logits(theirs)[:, PREFIX - 1 : -1]
  target = torch.tensor(tokens[:, PREFIX:]).long()
  torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1)).backward()
  expected = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
  worst = 0.0
  layout = layout_lib.Layout.of(ours.cfg)
  for name in chosen:
    row = rows_by[name]
    site = layout(name.removesuffix("/kernel"))
    for at in np.ndindex(*row.lead):
      theirs_g = expected.get(site.format(*at) + ".weight")
      if theirs_g is not None and np.abs(theirs_g).max() > 0:  # the last block of CLIP is not run
        ours_g = row.to_hf(np.asarray(grads[name])[at])
        worst = max(worst, float(np.linalg.norm(ours_g - theirs_g) / np.linalg.norm(theirs_g)))
  assert worst > 0
  record(case, "gradient", worst, GRADIENT)


def test_lora_through_peft(pair, tmp_path):
  case, theirs, ours, folder = pair
  layout = layout_lib.Layout.of(ours.cfg)
  method = lora.Lora(rank=3, alpha=12.0, sites=r"blocks/\d+/(attn|mlp)/\w+|vision/blocks/\d+/(q|v)|projector/first")
  attached = tiny.randomise(
    attach.attach(ours.module, ours.params, (method,), rng.root(0), mesh=tiny.mesh(1)), scale=0.2
  )
  exchange.save(str(tmp_path / "a"), attached, layout, base=str(folder))
  base = AUTO.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
  model = peft.PeftModel.from_pretrained(base, str(tmp_path / "a")).eval()
  with torch.no_grad():
    expected = theirs_logits(model).numpy()
  plain, found = ours_logits(ours), ours_logits(attached)
  assert np.abs(found - plain).max() > 0.01 * (plain.max() - plain.min())
  worst = relative(found, expected)
  methods, values = exchange.load(str(tmp_path / "a"), ours.module, layout)
  again = attach.attach(ours.module, ours.params, methods, rng.root(1), mesh=tiny.mesh(1))
  worst = max(worst, relative(ours_logits(again, {**again.params, **exchange.fill(again, values)}), found))
  record(case, "lora", worst, FORWARD)
