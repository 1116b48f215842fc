"""MixLoRA (Li et al. 2024): experts that share one frozen feed-forward block, a LoRA of each on its three projections.

y = Σ_e p_e FFN_e(x), p the softmax over the `top` best experts of a token. Gate and up are made once and every expert
adds its own to them; what follows is linear in each expert, so the frozen `down` runs once, on Σ_e p_e h_e:

  h_e = act(gate + s B_g A_g x) · (up + s B_u A_u x),   y = W_down Σ_e p_e h_e + s Σ_e p_e B_d A_d h_e
"""

import dataclasses

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.nn import taps
from itune_jax.peft.methods import routed
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib

MIX = r"blocks/\d+/mlp/mix"
_SPREAD = 0.02  # of the router at first: experts must differ for any to be chosen


class MixLoraAdapter(site.Adapter):
  """Of gate and up: a [D, E·R], b [E, R, F]; of down: a [E, F, R], b [E·R, D]; a router [D, E]."""

  def __init__(self, spec: site.SiteSpec, key, method: "MixLora"):
    (D, F), (d, f), E, R = spec.out_shape, spec.out_axes, method.experts, method.rank
    k_gate, k_up, k_down, k_router = jax.random.split(key, 4)
    self.router = site.AdapterParam(_SPREAD * jax.random.normal(k_router, (D, E)), axes=(d, None))
    self.gate_a = site.AdapterParam(weight.uniform(k_gate, (D, E * R), D), axes=(d, None))
    self.gate_b = site.AdapterParam(jnp.zeros((E, R, F)), axes=(None, None, f))
    self.up_a = site.AdapterParam(weight.uniform(k_up, (D, E * R), D), axes=(d, None))
    self.up_b = site.AdapterParam(jnp.zeros((E, R, F)), axes=(None, None, f))
    self.down_a = site.AdapterParam(weight.uniform(k_down, (E, F, R), F), axes=(None, f, None))
    self.down_b = site.AdapterParam(jnp.zeros((E * R, D)), axes=(None, d))
    self.scale = site.AdapterParam(jnp.float32(method.alpha / R), axes=(), trainable=False)
    self.top = method.top

  def post(self, x: taps.GateAndUp, y: taps.DownInput, w, ctx) -> taps.DownInput:
    x_BTD, gate_BTF, up_BTF, activation = x
    dtype = x_BTD.dtype
    read = lambda parameter: parameter[...].astype(dtype)
    scale = read(self.scale)
    logits_BTE = site.contract(x_BTD.astype(jnp.float32), self.router[...].astype(jnp.float32), 1)
    p_EBT1 = jnp.moveaxis(routed.route(logits_BTE, self.top, ctx), -1, 0)[..., None].astype(dtype)
    E = p_EBT1.shape[0]
    by_expert = lambda u: jnp.moveaxis(u.reshape(*u.shape[:-1], E, -1), -2, 0)
    narrow = lambda a: by_expert(site.contract(x_BTD, read(a), 1) * scale)

    @jax.checkpoint  # an expert's hidden states are made again, or all experts' would be kept
    def expert(h_BTF, given):
      gate_BTR, up_BTR, p_BT1, gate_RF, up_RF, down_FR = given
      hidden_BTF = activation(gate_BTF + gate_BTR @ gate_RF) * (up_BTF + up_BTR @ up_RF)
      return h_BTF + p_BT1 * hidden_BTF, p_BT1 * (hidden_BTF @ down_FR)

    given = narrow(self.gate_a), narrow(self.up_a), p_EBT1, *map(read, (self.gate_b, self.up_b, self.down_a))
    h_BTF, u_EBTR = jax.lax.scan(expert, jnp.zeros_like(gate_BTF), given)
    u_BTF = jnp.moveaxis(u_EBTR, 0, -2).reshape(*x_BTD.shape[:-1], -1)
    beside_BTD = site.contract(u_BTF * scale, read(self.down_b), 1)
    return taps.DownInput(h_BTF, beside_BTD if y.beside_BTD is None else y.beside_BTD + beside_BTD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixLora(method_lib.SiteMethod):
  """The method: `experts` of rank `rank`, of which a token takes `top` (0 for all). The paper puts a plain `Lora` on
  attention beside it, and weighs the balance of experts with 0.01 (`Sft.router_balance`). peft has no such method.

  experts: how many. rank: of the LoRA on each of an expert's projections. alpha: what it adds is scaled by alpha /
  rank. top: experts that a token takes, 0 for all.
  """

  experts: int = 8
  rank: int = 8
  alpha: ranges.PositiveFloat = 16.0
  top: ranges.NonNegativeInt = 2
  sites: str = MIX
  name: str = "mixlora"
  kinds = ("tap",)

  def __post_init__(self):
    super().__post_init__()
    routed.check_experts(self)

  def make(self, spec: site.SiteSpec, key) -> MixLoraAdapter:
    """The adapter of one layer; every b is zero, so the model is unchanged at first."""
    check.require(
      spec.name.endswith("/mix") and len(spec.out_shape) == 2 and spec.out_axes == ("embed", "mlp"),
      f"MixLora goes to the tap `mix` of gated feed-forward blocks; {spec.name} is none",
    )
    return MixLoraAdapter(spec, key, self)
