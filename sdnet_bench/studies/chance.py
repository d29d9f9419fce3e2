"""What chance can do: intervals of proportions, and a test of their difference."""

from __future__ import annotations


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share (%) of hits among n."""
    from scipy.stats import binomtest

    low, high = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return 100 * low, 100 * high


def sign_test(wins: int, losses: int) -> float:
    """p of the exact sign test, McNemar's where an image wins or loses once: could the two sides be alike?"""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def show_p(p: float) -> str:
    """ "0.013", or "< 0.0001"."""
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"
