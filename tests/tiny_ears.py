"""Tiny pretrained networks of sounds, with what each makes of samples first: no hub is asked."""

from __future__ import annotations

from typing import Any

import transformers

RATE = 16000
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def wav2vec2(**options: Any) -> tuple[Any, Any]:
    convolutions: dict[str, Any] = {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (40, 20)}
    config = transformers.Wav2Vec2Config(
        **SIZE, **convolutions, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm="group",
        **options,
    )  # fmt: skip
    return transformers.Wav2Vec2Model(config), transformers.Wav2Vec2FeatureExtractor()


def unmasked() -> tuple[Any, Any]:
    """One that hides nothing in training, and so has nothing to hide it by."""
    return wav2vec2(mask_time_prob=0.0, mask_feature_prob=0.0)


def whisper() -> tuple[Any, Any]:
    config = transformers.WhisperConfig(
        vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_attention_heads=2, decoder_ffn_dim=16, num_mel_bins=20, max_source_positions=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperModel(config), transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)


def spectrogram() -> tuple[Any, Any]:
    config = transformers.ASTConfig(**SIZE, max_length=200, num_mel_bins=32)
    return transformers.ASTModel(config), transformers.ASTFeatureExtractor(max_length=200, num_mel_bins=32)
