"""What is known of families of models, as data.

A family is a row of `FAMILIES`, by its Hugging Face `model_type`: which tensors it stores under which names (one
table serves loading, saving and PEFT folders), which keys of config.json set which field, and what is fixed. A new
decoder family is a new row here and one in tests/models/families.py.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Literal

from itune_jax.models.hf import names


@dataclasses.dataclass(frozen=True)
class Key:
  """A key of config.json, where it is no plain number: how it is read and written."""

  theirs: str
  read: Callable[[Any], Any] = lambda value: value
  write: Callable[[Any], Any] = lambda value: value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """A model_type of Hugging Face.

  keys: our field to their key, on top of COMMON; None where the family has none. fixed: fields that all members share.
  windows: how config.json says which layers have one. demands: keys that must have one of these values, because
  others change the function in ways that are not built. renames: older tensor names, as (regex, replacement).
  spellings: older keys, which its class in transformers takes and has no field for. turns_part: whether a part of each
  head may turn.
  """

  architecture: str
  rows: tuple[names.Row, ...]
  special: str
  kind: Literal["decoder", "encdec", "vlm"] = "decoder"
  keys: Mapping[str, str | Key | None] = dataclasses.field(default_factory=dict)
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  windows: Literal["none", "all", "layer_types"] = "none"
  moe: Mapping[str, str | bool] | None = None
  demands: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
  also: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  renames: tuple[tuple[str, str], ...] = ()
  embeds_by_root_width: bool = False
  task_type: str = "CAUSAL_LM"
  untied_if_stored: bool = False
  copies: str = ""
  texts: tuple[str, ...] = ()
  spellings: tuple[str, ...] = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
  turns_part: bool = False

  @property
  def all_keys(self) -> dict[str, Key]:
    """The keys of config.json by our field."""
    keys = {**(COMMON if self.kind == "decoder" else {}), **self.keys}
    return {ours: Key(key) if isinstance(key, str) else key for ours, key in keys.items() if key is not None}


def _invert(value):
  return 1.0 / value


ACTIVATIONS = {
  "silu": "silu",
  "gelu": "gelu",
  "gelu_new": "gelu_tanh",
  "gelu_pytorch_tanh": "gelu_tanh",
  "relu": "relu",
  "quick_gelu": "quick_gelu",
}


def activation(theirs: str, write_as: str = "gelu_pytorch_tanh") -> Key:
  """The activation under a key; tanh-gelu has two names."""
  back = {"gelu_tanh": write_as}
  return Key(theirs, lambda name: ACTIVATIONS.get(name, name), lambda name: back.get(name, name))


COMMON: dict[str, str | Key] = {
  "vocab": "vocab_size",
  "width": "hidden_size",
  "depth": "num_hidden_layers",
  "heads": "num_attention_heads",
  "kv_heads": "num_key_value_heads",
  "head_dim": "head_dim",
  "mlp": "intermediate_size",
  "max_length": "max_position_embeddings",
  "norm_eps": "rms_norm_eps",
  "tied": "tie_word_embeddings",
  "activation": activation("hidden_act"),
}

_T5_KEYS: dict[str, str | Key | None] = {
  "vocab": "vocab_size",
  "width": "d_model",
  "depth": "num_layers",
  "decoder_depth": "num_decoder_layers",
  "heads": "num_heads",
  "head_dim": "d_kv",
  "mlp": "d_ff",
  "norm_eps": "layer_norm_epsilon",
  "buckets": "relative_attention_num_buckets",
  "longest": "relative_attention_max_distance",
  "start_token": "decoder_start_token_id",
}

# The last two follow from the first, unless the file says otherwise.
_T5_DEMANDS = {"feed_forward_proj": ("gated-gelu",), "dense_act_fn": ("gelu_new",), "is_gated_act": (True,)}
_BIASES = {"attention_bias": "attention_bias", "output_bias": "attention_bias"}
_GEMMA_ACT = activation("hidden_activation")
_QUERY_SCALE = Key("query_pre_attn_scalar", lambda v: float(v) ** -0.5, lambda v: round(v**-2))

FAMILIES: dict[str, Family] = {
  "llama": Family(
    architecture="LlamaForCausalLM",
    rows=names.LLAMA,
    special="Llama 2, 3, 3.1, 3.2, SmolLM2; rope scalings linear, dynamic, yarn, llama3",
    keys={**_BIASES, "mlp_bias": "mlp_bias"},
  ),
  "mistral": Family(
    architecture="MistralForCausalLM", rows=names.LLAMA, special="sliding window in every layer", windows="all"
  ),
  "qwen2": Family(
    architecture="Qwen2ForCausalLM",
    rows=names.LLAMA,
    special="bias on q, k and v; sliding window from a layer on (Qwen2, Qwen2.5)",
    fixed={"attention_bias": True},
    windows="layer_types",
    also={"use_sliding_window": True},
  ),
  "qwen3": Family(
    architecture="Qwen3ForCausalLM",
    rows=(*names.LLAMA, *names.QK_NORM),
    special="norm over each query and key head",
    keys=_BIASES,
    fixed={"qk_norm": "head"},
    windows="layer_types",
    also={"use_sliding_window": True},
  ),
  "smollm3": Family(
    architecture="SmolLM3ForCausalLM",
    rows=names.LLAMA,
    special="layers without positions",
    keys={
      **_BIASES,
      "mlp_bias": "mlp_bias",
      "no_rope": Key("no_rope_layers", lambda v: tuple(int(not on) for on in v), lambda v: [int(not off) for off in v]),
    },
    windows="layer_types",
    also={"use_sliding_window": True},
  ),
  "gemma": Family(
    architecture="GemmaForCausalLM",
    rows=names.LLAMA,
    special="norms scale by 1 + w; embeddings times √D",
    keys={**_BIASES, "activation": activation("hidden_act")},
    fixed={"norm": "rms_offset"},
    embeds_by_root_width=True,
    demands={"use_bidirectional_attention": (None, False)},
  ),
  "gemma2": Family(
    architecture="Gemma2ForCausalLM",
    rows=(*names.FRAME, *names.SANDWICH, *names.SPLIT, *names.GATED),
    special="norms before and after each block; softcaps; every other layer has a window",
    keys={
      **_BIASES,
      "activation": _GEMMA_ACT,
      "attention_scale": _QUERY_SCALE,
      "attention_softcap": Key("attn_logit_softcapping", lambda v: float(v or 0), lambda v: v or None),
      "logit_softcap": Key("final_logit_softcapping", lambda v: float(v or 0), lambda v: v or None),
    },
    fixed={"norm": "rms_offset", "placement": "sandwich"},
    windows="layer_types",
    embeds_by_root_width=True,
    demands={"use_bidirectional_attention": (None, False)},
  ),
  "gemma3_text": Family(
    architecture="Gemma3ForCausalLM",
    rows=(*names.FRAME, *names.SANDWICH, *names.SPLIT, *names.QK_NORM, *names.GATED),
    special="norm over each query and key head; layers with a window have their own rotary base",
    keys={
      **_BIASES,
      "activation": _GEMMA_ACT,
      "attention_scale": _QUERY_SCALE,
      "attention_softcap": Key("attn_logit_softcapping", lambda v: float(v or 0), lambda v: v or None),
      "logit_softcap": Key("final_logit_softcapping", lambda v: float(v or 0), lambda v: v or None),
    },
    fixed={"norm": "rms_offset", "placement": "sandwich", "qk_norm": "head"},
    windows="layer_types",
    spellings=("rope_theta", "rope_local_base_freq", "original_max_position_embeddings", "sliding_window_pattern"),
    embeds_by_root_width=True,
    demands={"use_bidirectional_attention": (None, False)},
  ),
  "olmo2": Family(
    architecture="Olmo2ForCausalLM",
    rows=(*names.FRAME, *names.POST, *names.SPLIT, *names.QK_NORM, *names.GATED),
    special="norms behind the blocks only; one norm over all query heads, one over all key heads",
    keys=_BIASES,
    fixed={"placement": "post", "qk_norm": "all"},
  ),
  "phi3": Family(
    architecture="Phi3ForCausalLM",
    rows=(*names.FRAME, *names.PRE, *names.PHI3),
    special="fused qkv and gate-up (each is one site); longrope; part of each head turns",
    keys={"head_dim": None},
    fixed={"qkv": "concat", "mlp_layout": "gated_fused"},
    windows="all",
    turns_part=True,
  ),
  "granite": Family(
    architecture="GraniteForCausalLM",
    rows=names.LLAMA,
    special="factors on embeddings, residual stream, scores and logits",
    keys={
      **_BIASES,
      "head_dim": None,
      "mlp_bias": "mlp_bias",
      "embed_scale": "embedding_multiplier",
      "residual_scale": "residual_multiplier",
      "attention_scale": "attention_multiplier",
      "logit_scale": Key("logits_scaling", _invert, _invert),
    },
  ),
  "gpt2": Family(
    architecture="GPT2LMHeadModel",
    rows=names.GPT2,
    special="learned positions; LayerNorm; fused qkv; kernels stored [in, out]",
    keys={
      "width": "n_embd",
      "depth": "n_layer",
      "heads": "n_head",
      "kv_heads": None,
      "head_dim": None,
      "mlp": "n_inner",
      "max_length": "n_positions",
      "norm_eps": "layer_norm_epsilon",
      "activation": activation("activation_function", "gelu_new"),
    },
    fixed={
      "positions": "learned",
      "norm": "layer",
      "qkv": "stacked",
      "mlp_layout": "plain",
      "attention_bias": True,
      "output_bias": True,
      "mlp_bias": True,
    },
    demands={
      "scale_attn_weights": (True,),
      "scale_attn_by_inverse_layer_idx": (False,),
      "add_cross_attention": (False,),
    },
    renames=((r"^(?!transformer\.|lm_head\.)", "transformer."),),
  ),
  "gpt_neox": Family(
    architecture="GPTNeoXForCausalLM",
    rows=names.NEOX,
    special="Pythia; attention and feed-forward in parallel; qkv fused head by head; a quarter of each head turns",
    keys={
      "kv_heads": None,
      "head_dim": None,
      "norm_eps": "layer_norm_eps",
      "parallel": "use_parallel_residual",
      **_BIASES,
    },
    fixed={"norm": "layer", "qkv": "interleaved", "mlp_layout": "plain", "mlp_bias": True},
    spellings=("rotary_pct", "rotary_emb_base", "original_max_position_embeddings"),
    turns_part=True,
  ),
  "mixtral": Family(
    architecture="MixtralForCausalLM",
    rows=(*names.FRAME, *names.PRE, *names.SPLIT, *names.MIXTRAL_EXPERTS),
    special="8 experts, the weights of the chosen two sum to one",
    windows="all",
    moe={"experts": "num_local_experts", "renormalise": True},
  ),
  "qwen3_moe": Family(
    architecture="Qwen3MoeForCausalLM",
    rows=(*names.FRAME, *names.PRE, *names.SPLIT, *names.QK_NORM, *names.EXPERTS),
    special="many small experts; norm over each query and key head",
    keys={**_BIASES, "mlp": "moe_intermediate_size"},
    fixed={"qk_norm": "head"},
    moe={"experts": "num_experts", "renormalise": "norm_topk_prob"},
    demands={"mlp_only_layers": ([], None), "decoder_sparse_step": (1,), "use_sliding_window": (False, None)},
  ),
  "olmoe": Family(
    architecture="OlmoeForCausalLM",
    rows=(*names.FRAME, *names.PRE, *names.SPLIT, *names.QK_NORM, *names.EXPERTS),
    special="64 experts; one norm over all query heads, one over all key heads",
    keys={**_BIASES, "head_dim": None},
    fixed={"qk_norm": "all"},
    moe={"experts": "num_experts", "renormalise": "norm_topk_prob"},
    demands={"clip_qkv": (None,)},
  ),
  "t5": Family(
    architecture="T5ForConditionalGeneration",
    rows=names.T5,
    special="T5 v1.1, FLAN-T5: relative bias, gated gelu, scores without a scale",
    kind="encdec",
    keys={**_T5_KEYS, "scale_head": "scale_decoder_outputs"},
    demands=_T5_DEMANDS,
    also={"feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "dropout_rate": 0.0},
    task_type="SEQ_2_SEQ_LM",
    untied_if_stored=True,
    copies=r"(encoder|decoder)\.embed_tokens\.weight",
  ),
  "mt5": Family(
    architecture="MT5ForConditionalGeneration",
    rows=names.T5,
    special="as T5 v1.1, over 101 languages",
    kind="encdec",
    keys=_T5_KEYS,
    demands=_T5_DEMANDS,
    also={"feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "dropout_rate": 0.0},
    task_type="SEQ_2_SEQ_LM",
    untied_if_stored=True,
    copies=r"(encoder|decoder)\.embed_tokens\.weight",
  ),
  "llava": Family(
    architecture="LlavaForConditionalGeneration",
    rows=names.LLAVA,
    special="LLaVA-1.5: CLIP, read behind its last block but one; a projector of two layers; Llama",
    kind="vlm",
    spellings=("image_token_index", "image_token_id"),
    keys={"projector_activation": activation("projector_hidden_act")},
    fixed={"projector": "mlp"},
    texts=("llama", "mistral", "qwen2"),
    demands={"multimodal_projector_bias": (True,), "vision_feature_select_strategy": ("default",)},
    renames=(*names.VLM_RENAMES, (r"^lm_head\.", "language_model.lm_head.")),
  ),
  "paligemma": Family(
    architecture="PaliGemmaForConditionalGeneration",
    rows=names.PALIGEMMA,
    special="SigLIP; a linear projector; Gemma, seeing image and prompt both ways",
    kind="vlm",
    spellings=("image_token_index", "image_token_id"),
    fixed={"projector": "linear", "prefix_lm": True},
    texts=("gemma", "gemma2"),
    renames=(*names.VLM_RENAMES, (r"^lm_head\.", "language_model.lm_head.")),
  ),
}
