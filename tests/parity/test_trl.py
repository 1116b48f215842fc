"""The loss and gradients of a step against TRL's trainer arithmetic, and the learned update against torch's AdamW."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.objectives import sft  # noqa: E402
from itune_jax.optim import adamw  # noqa: E402
from itune_jax.optim import schedule  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.train import step as step_lib  # noqa: E402
from tests import tiny  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
ROWS = [("Hi", "Hello there, how are you?"), ("Count to three.", "One, two, three."), ("Why?", "Because.")]


def test_packed_loss_and_lora_gradient_equal_peft_unpacked(ours, base_folder):
  """Three conversations packed here, one by one there; loss is summed over answers and divided once."""
  peft = pytest.importorskip("peft")
  from itune_jax.data import example as example_lib
  from itune_jax.data.render import chat

  renderer = chat.Renderer(ours.session.tokenizer)
  items = [
    (r.ids, r.weights)
    for q, a in ROWS
    for r in renderer.render(
      example_lib.Example(messages=({"role": "user", "content": q}, {"role": "assistant", "content": a}))
    )
  ]
  method = lora.Lora(rank=4, sites=r"blocks/\d+/attn/q")
  attached = tiny.randomise(ours.attach(method).session.attached, scale=0.02)
  bind = tiny.binder(attached.module, ours.session.mesh)
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  batch = jax.tree.map(lambda x: jnp.asarray(x)[None], tiny.packed(items, 256))
  sums, grads = jax.jit(lambda t, f, b: step_lib.gradients(bind, sft.Sft(), t, f, b, jax.random.key(0)))(
    trainable, frozen, batch
  )
  base = transformers.AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
  model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj"]))
  state = dict(model.named_parameters())
  prefix = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.default.weight"
  for i in range(30):
    for leaf, name in (("a", "A"), ("b", "B")):
      value = np.asarray(trainable[f"blocks/attn/q/adapters/lora/{leaf}"][i])
      flat = value.reshape(-1, value.shape[-1]).T if leaf == "a" else value.reshape(value.shape[0], -1).T
      state[prefix.format(i, name)].data = torch.tensor(np.ascontiguousarray(flat))
  total, count = 0.0, 0
  for ids, weights in items:
    labels = torch.tensor(np.where(weights != 0, ids, -100).astype(np.int64)[None])
    logits = model(torch.tensor(ids.astype(np.int64)[None])).logits
    total = total + torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum", ignore_index=-100)
    count += int((labels[0, 1:] != -100).sum())
  total.backward()
  assert count == int(sums.weight)
  loss = abs(float(sums.loss) - float(total.detach())) / float(total.detach())
  g = np.asarray(grads["blocks/attn/q/adapters/lora/b"][7])
  wanted = state[prefix.format(7, "B")].grad.numpy().T
  distance = np.linalg.norm(g.reshape(4, -1) - wanted) / np.linalg.norm(wanted)
  print(f"\nloss against torch: {loss:.1e}; LoRA gradient of layer 7: {distance:.1e}")
  assert loss <= 1e-5 and distance <= 1e-3


def test_adamw_is_torchs():
  weights = np.random.RandomState(0).randn(5, 3).astype(np.float32)
  theirs = torch.nn.Parameter(torch.tensor(weights))
  optimizer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
  transform, _ = adamw.AdamW(
    schedule=schedule.Schedule(rate=0.01, kind="constant", warmup=0.0), weight_decay=0.1, clip=0.0
  ).make(5, ["x/kernel"])
  ours = {"x/kernel": jnp.asarray(weights)}
  state = transform.init(ours)
  for i in range(5):
    grad = np.random.RandomState(i + 1).randn(5, 3).astype(np.float32)
    theirs.grad = torch.tensor(grad)
    optimizer.step()
    updates, state = transform.update({"x/kernel": jnp.asarray(grad)}, state, ours)
    ours = {"x/kernel": ours["x/kernel"] + updates["x/kernel"]}
  np.testing.assert_allclose(ours["x/kernel"], theirs.detach().numpy(), atol=1e-6)
