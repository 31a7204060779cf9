"""How good explanations are: metrics over samples and methods, and methods in the order of what they find."""

from xaibench.quality.assess import Assessment, Refusal, Score, assess
from xaibench.quality.bench import Bench
from xaibench.quality.ranking import Ranked, Ranking, rank_explainers
from xaibench.quality.record import RankingRecord
from xaibench.quality.shifted import Shifted

__all__ = [
    "Assessment",
    "Bench",
    "Ranked",
    "Ranking",
    "RankingRecord",
    "Refusal",
    "Score",
    "Shifted",
    "assess",
    "rank_explainers",
]
