"""Attacks on token ids: a few words of a text are exchanged, misspelt or joined by others."""

from xaibench.attacks.text.characters import CharacterEdits, misspellings
from xaibench.attacks.text.hotflip import HotFlip
from xaibench.attacks.text.words import WordInsertion, WordSubstitution

__all__ = ["CharacterEdits", "HotFlip", "WordInsertion", "WordSubstitution", "misspellings"]
