"""Shapes of published models by hub id, as their config.json gives them: enough to plan a run without any download."""

from typing import Any

_LLAMA3: dict[str, Any] = {
  "model_type": "llama",
  "vocab_size": 128256,
  "head_dim": 128,
  "num_key_value_heads": 8,
  "max_position_embeddings": 131072,
  "rms_norm_eps": 1e-5,
  "rope_theta": 500000.0,
  "rope_scaling": {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
  },
  "tie_word_embeddings": False,
}
_LLAMA3_8B = {
  **_LLAMA3,
  "hidden_size": 4096,
  "intermediate_size": 14336,
  "num_hidden_layers": 32,
  "num_attention_heads": 32,
}
_LLAMA3_70B = {
  **_LLAMA3,
  "hidden_size": 8192,
  "intermediate_size": 28672,
  "num_hidden_layers": 80,
  "num_attention_heads": 64,
}
_QWEN25_7B: dict[str, Any] = {
  "model_type": "qwen2",
  "vocab_size": 152064,
  "hidden_size": 3584,
  "intermediate_size": 18944,
  "num_hidden_layers": 28,
  "num_attention_heads": 28,
  "num_key_value_heads": 4,
  "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1000000.0,
  "tie_word_embeddings": False,
}

_LLAVA_7B: dict[str, Any] = {
  "model_type": "llava",
  "image_token_index": 32000,
  "projector_hidden_act": "gelu",
  "vision_feature_layer": -2,
  "vision_feature_select_strategy": "default",
  "text_config": {
    "model_type": "llama",
    "vocab_size": 32064,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
  },
  "vision_config": {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
  },
}

CONFIGS: dict[str, dict[str, Any]] = {
  "meta-llama/Llama-3.1-8B": _LLAMA3_8B,
  "meta-llama/Llama-3.1-8B-Instruct": _LLAMA3_8B,
  "meta-llama/Llama-3.1-70B": _LLAMA3_70B,
  "meta-llama/Llama-3.1-70B-Instruct": _LLAMA3_70B,
  "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B,
  "llava-hf/llava-1.5-7b-hf": _LLAVA_7B,
}
