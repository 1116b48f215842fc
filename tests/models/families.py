"""One tiny Hugging Face config for each family and variant; a new family adds a row.

Everything that makes a variant special is switched on: windows shorter than the test's sequence, contexts beyond the
original length, more query heads than key heads.
"""

_SMALL = dict(
  vocab_size=96,
  hidden_size=32,
  intermediate_size=48,
  num_hidden_layers=2,
  num_attention_heads=4,
  num_key_value_heads=2,
  max_position_embeddings=64,
  initializer_range=0.3,
  bos_token_id=1,
  eos_token_id=2,
  pad_token_id=0,
)
_LLAMA = dict(_SMALL, model_type="llama", rope_theta=100.0)
_HALF = [1.0, 1.5]  # longrope factors of half of an 8-wide head


def _rope(kind, **more):
  return dict(_LLAMA, rope_scaling={"rope_type": kind, **more})


CASES: dict[str, dict] = {
  "llama": dict(_LLAMA, tie_word_embeddings=True),
  "llama-biases": dict(_LLAMA, attention_bias=True, mlp_bias=True, head_dim=16),
  "llama-linear": _rope("linear", factor=4.0),
  "llama-dynamic": dict(_rope("dynamic", factor=4.0), max_position_embeddings=16),
  "llama-yarn": _rope("yarn", factor=4.0, original_max_position_embeddings=16),
  "llama-llama3": _rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
  ),
  "mistral": dict(_SMALL, model_type="mistral", sliding_window=8),
  "qwen2": dict(_SMALL, model_type="qwen2"),
  "qwen2-window": dict(_SMALL, model_type="qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1),
  "qwen3": dict(_SMALL, model_type="qwen3", head_dim=16),
  "smollm3": dict(_SMALL, model_type="smollm3", num_hidden_layers=4, no_rope_layer_interval=2),
  "gemma": dict(_SMALL, model_type="gemma", head_dim=16, num_key_value_heads=1),
  "gemma2": dict(
    _SMALL, model_type="gemma2", head_dim=16, sliding_window=8, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
    final_logit_softcapping=5.0,
  ),
  "gemma3": dict(
    _SMALL, model_type="gemma3_text", head_dim=16, sliding_window=8, query_pre_attn_scalar=24, num_hidden_layers=4,
    sliding_window_pattern=2, rope_scaling={"rope_type": "linear", "factor": 4.0}, rope_theta=1000.0,
    rope_local_base_freq=50.0,
  ),
  "olmo2": dict(_SMALL, model_type="olmo2"),
  "phi3": dict(_SMALL, model_type="phi3", sliding_window=8),
  "phi3-longrope": dict(
    _SMALL, model_type="phi3", partial_rotary_factor=0.5, original_max_position_embeddings=16,
    rope_scaling={"type": "longrope", "short_factor": _HALF, "long_factor": [2.0, 3.0]},
  ),
  "granite": dict(
    _SMALL, model_type="granite", embedding_multiplier=3.0, residual_multiplier=0.5, attention_multiplier=0.2,
    logits_scaling=4.0,
  ),
  "gpt2": dict(
    model_type="gpt2", vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3,
    bos_token_id=1, eos_token_id=2,
  ),
  "gpt_neox": dict(_SMALL, model_type="gpt_neox", rotary_pct=0.5),
  "gpt_neox-serial": dict(_SMALL, model_type="gpt_neox", use_parallel_residual=False),
  "mixtral": dict(_SMALL, model_type="mixtral", num_local_experts=4, num_experts_per_tok=2),
  "qwen3_moe": dict(
    _SMALL, model_type="qwen3_moe", head_dim=16, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=24,
    norm_topk_prob=True,
  ),
  "olmoe": dict(_SMALL, model_type="olmoe", num_experts=8, num_experts_per_tok=2),
}  # fmt: skip

_T5 = dict(
  vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4,
  relative_attention_num_buckets=8, relative_attention_max_distance=12, feed_forward_proj="gated-gelu",
  decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, initializer_factor=0.3,
)  # fmt: skip

ENCDEC: dict[str, dict] = {
  "t5-v1.1": dict(_T5, model_type="t5", tie_word_embeddings=False),
  "t5-scaled": dict(_T5, model_type="t5"),
  "mt5": dict(_T5, model_type="mt5"),
}

_TEXT = {k: v for k, v in _SMALL.items() if k != "initializer_range"}
_VISION = dict(
  hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3, image_size=16, patch_size=4,
  projection_dim=32,
)  # fmt: skip
_GEMMA = dict(_TEXT, head_dim=16, num_key_value_heads=1, num_image_tokens=16)

VLM: dict[str, dict] = {
  "llava": dict(
    model_type="llava", image_token_index=90, text_config=dict(_TEXT, model_type="llama"),
    vision_config=dict(_VISION, model_type="clip_vision_model"),
  ),
  "paligemma": dict(
    model_type="paligemma", image_token_index=90, projection_dim=32, text_config=dict(_GEMMA, model_type="gemma"),
    vision_config=dict(_VISION, model_type="siglip_vision_model", vision_use_head=False),
  ),
  "paligemma2": dict(
    model_type="paligemma", image_token_index=90, projection_dim=32,
    text_config=dict(_GEMMA, model_type="gemma2", query_pre_attn_scalar=24, sliding_window=64),
    vision_config=dict(_VISION, model_type="siglip_vision_model", vision_use_head=False),
  ),
}  # fmt: skip
