"""Shares in tables read as everywhere else, and sort by what they are."""

from __future__ import annotations

from xaibench.pages.shared.tables import share_table


def test_shares_are_written_as_in_sentences_and_kept_whole() -> None:
    table = share_table([{"a": "x", "b": 0.99996}, {"a": "y", "b": None}, {"a": "z", "b": 0.87}], ("b", "absent"))
    text = table.hide(axis="index").to_string(delimiter="|").splitlines()
    assert text[1:] == ["x|over 99.9 %", "y|–", "z|87 %"]
    assert table.data["b"].tolist()[::2] == [0.99996, 0.87]
