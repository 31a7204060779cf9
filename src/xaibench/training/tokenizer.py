"""Word-level tokenizers, stored as `tokenizer.json` of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xaibench.training.recipe import TextEncoding

__all__ = ["train_tokenizer"]


def train_tokenizer(texts: Iterable[str], config: TextEncoding) -> Any:
    """A `tokenizers.Tokenizer` of the most frequent lower-case words; id 0 pads, id 1 stands for all other words."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"<[^<>]{1,20}>"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.vocabulary, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(config.length, direction="left" if config.keep == "end" else "right")
    tokenizer.enable_padding(length=config.length, pad_id=0, pad_token="[PAD]")
    return tokenizer
