"""Row tables: which module of ours is which of Hugging Face's, fragment by fragment."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Row:
  """One module: our path, its HF name (`{}` is the layer, a second one the expert), and its kind."""

  ours: str
  theirs: str
  kind: Literal["proj", "conv1d", "patch", "table", "norm", "vector"]


LAYER = "model.layers.{}."
FRAME = (Row("embed", "model.embed_tokens", "table"), Row("norm", "model.norm", "norm"), Row("head", "lm_head", "proj"))
SPLIT = tuple(Row(f"blocks/attn/{x}", f"{LAYER}self_attn.{x}_proj", "proj") for x in "qkvo")
QK_NORM = tuple(Row(f"blocks/attn/{x}_norm", f"{LAYER}self_attn.{x}_norm", "norm") for x in "qk")
GATED = tuple(Row(f"blocks/mlp/{x}", f"{LAYER}mlp.{x}_proj", "proj") for x in ("gate", "up", "down"))
PRE = (
  Row("blocks/attn_norm", f"{LAYER}input_layernorm", "norm"),
  Row("blocks/mlp_norm", f"{LAYER}post_attention_layernorm", "norm"),
)
POST = (
  Row("blocks/attn_post_norm", f"{LAYER}post_attention_layernorm", "norm"),
  Row("blocks/mlp_post_norm", f"{LAYER}post_feedforward_layernorm", "norm"),
)
SANDWICH = (
  Row("blocks/attn_norm", f"{LAYER}input_layernorm", "norm"),
  Row("blocks/mlp_norm", f"{LAYER}pre_feedforward_layernorm", "norm"),
  *POST,
)
EXPERTS = (
  Row("blocks/mlp/router", f"{LAYER}mlp.gate", "proj"),
  *(Row(f"blocks/mlp/experts/{x}", f"{LAYER}mlp.experts.{{}}.{x}_proj", "proj") for x in ("gate", "up", "down")),
)
MIXTRAL_EXPERTS = (
  Row("blocks/mlp/router", f"{LAYER}block_sparse_moe.gate", "proj"),
  *(
    Row(f"blocks/mlp/experts/{ours}", f"{LAYER}block_sparse_moe.experts.{{}}.{theirs}", "proj")
    for ours, theirs in (("gate", "w1"), ("up", "w3"), ("down", "w2"))
  ),
)
PHI3 = (
  Row("blocks/attn/qkv", f"{LAYER}self_attn.qkv_proj", "proj"),
  Row("blocks/attn/o", f"{LAYER}self_attn.o_proj", "proj"),
  Row("blocks/mlp/gate_up", f"{LAYER}mlp.gate_up_proj", "proj"),
  Row("blocks/mlp/down", f"{LAYER}mlp.down_proj", "proj"),
)
GPT2 = (
  Row("embed", "transformer.wte", "table"),
  Row("learned", "transformer.wpe", "table"),
  Row("blocks/attn_norm", "transformer.h.{}.ln_1", "norm"),
  Row("blocks/attn/qkv", "transformer.h.{}.attn.c_attn", "conv1d"),
  Row("blocks/attn/o", "transformer.h.{}.attn.c_proj", "conv1d"),
  Row("blocks/mlp_norm", "transformer.h.{}.ln_2", "norm"),
  Row("blocks/mlp/up", "transformer.h.{}.mlp.c_fc", "conv1d"),
  Row("blocks/mlp/down", "transformer.h.{}.mlp.c_proj", "conv1d"),
  Row("norm", "transformer.ln_f", "norm"),
  Row("head", "lm_head", "proj"),
)
NEOX = (
  Row("embed", "gpt_neox.embed_in", "table"),
  Row("blocks/attn_norm", "gpt_neox.layers.{}.input_layernorm", "norm"),
  Row("blocks/mlp_norm", "gpt_neox.layers.{}.post_attention_layernorm", "norm"),
  Row("blocks/attn/qkv", "gpt_neox.layers.{}.attention.query_key_value", "proj"),
  Row("blocks/attn/o", "gpt_neox.layers.{}.attention.dense", "proj"),
  Row("blocks/mlp/up", "gpt_neox.layers.{}.mlp.dense_h_to_4h", "proj"),
  Row("blocks/mlp/down", "gpt_neox.layers.{}.mlp.dense_4h_to_h", "proj"),
  Row("norm", "gpt_neox.final_layer_norm", "norm"),
  Row("head", "embed_out", "proj"),
)

T5_BLOCKS = tuple(
  Row(f"{ours}/{leaf}", f"{stack}.block.{{}}.layer.{at}.{module}{leaf}", "proj")
  for stack, ours, at, module in (
    ("encoder", "encoder/attn", 0, "SelfAttention."),
    ("decoder", "decoder/attn", 0, "SelfAttention."),
    ("decoder", "decoder/cross", 1, "EncDecAttention."),
  )
  for leaf in "qkvo"
)
T5_MLPS = tuple(
  Row(f"{stack}/mlp/{ours}", f"{stack}.block.{{}}.layer.{at}.DenseReluDense.{theirs}", "proj")
  for stack, at in (("encoder", 1), ("decoder", 2))
  for ours, theirs in (("gate", "wi_0"), ("up", "wi_1"), ("down", "wo"))
)
T5_NORMS = tuple(
  Row(f"{stack}/{norm}_norm", f"{stack}.block.{{}}.layer.{at}.layer_norm", "norm")
  for stack, norm, at in (
    ("encoder", "attn", 0),
    ("encoder", "mlp", 1),
    ("decoder", "attn", 0),
    ("decoder", "cross", 1),
    ("decoder", "mlp", 2),
  )
)
T5 = (
  Row("embed", "shared", "table"),
  *T5_BLOCKS,
  *T5_MLPS,
  *T5_NORMS,
  *(
    Row(f"{stack}_bias/table", f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias", "table")
    for stack in ("encoder", "decoder")
  ),
  Row("encoder_norm", "encoder.final_layer_norm", "norm"),
  Row("norm", "decoder.final_layer_norm", "norm"),
  Row("head", "lm_head", "proj"),
)
LLAMA = (*FRAME, *PRE, *SPLIT, *GATED)


def inside(rows: tuple[Row, ...], prefix: str) -> tuple[Row, ...]:
  """The rows of a model that is a part of another one, under a prefix."""
  return tuple(dataclasses.replace(row, theirs=prefix + row.theirs) for row in rows)


def scoring(row: Row) -> Row:
  """The row of a model that scores text (transformers' …ForSequenceClassification): its head has another name."""
  return dataclasses.replace(row, theirs="score", kind="proj") if row.ours == "head" else row


_VISION_LAYER = "vision_tower.encoder.layers.{}."
VISION = (
  Row("vision/class_token", "vision_tower.embeddings.class_embedding", "vector"),
  Row("vision/patch", "vision_tower.embeddings.patch_embedding", "patch"),
  Row("vision/positions", "vision_tower.embeddings.position_embedding", "table"),
  Row("vision/pre_norm", "vision_tower.pre_layrnorm", "norm"),
  *(Row(f"vision/blocks/{x}", f"{_VISION_LAYER}self_attn.{x}_proj", "proj") for x in "qkv"),
  Row("vision/blocks/o", f"{_VISION_LAYER}self_attn.out_proj", "proj"),
  Row("vision/blocks/attn_norm", f"{_VISION_LAYER}layer_norm1", "norm"),
  Row("vision/blocks/mlp_norm", f"{_VISION_LAYER}layer_norm2", "norm"),
  Row("vision/blocks/mlp/up", f"{_VISION_LAYER}mlp.fc1", "proj"),
  Row("vision/blocks/mlp/down", f"{_VISION_LAYER}mlp.fc2", "proj"),
  Row("vision/norm", "vision_tower.post_layernorm", "norm"),
)
LLAVA = (
  *VISION,
  Row("projector/first", "multi_modal_projector.linear_1", "proj"),
  Row("projector/second", "multi_modal_projector.linear_2", "proj"),
)
PALIGEMMA = (*VISION, Row("projector/first", "multi_modal_projector.linear", "proj"))
# Names before transformers 5 and in its memory, in the spelling of its files.
VLM_RENAMES = (
  (r"^model\.language_model\.", "language_model.model."),
  (r"^model\.(vision_tower|multi_modal_projector)\.", r"\1."),
  (r"^vision_tower\.vision_model\.", "vision_tower."),
)
