"""Is this mean small? Estimates with intervals, rules with error rates, and bets."""

from msr.statistics.estimate import Estimate as Estimate
from msr.statistics.rules import draws_needed as draws_needed
from msr.statistics.rules import mean_rule as mean_rule
from msr.statistics.rules import tail_rule as tail_rule
from msr.statistics.rules import zero_failure_rule as zero_failure_rule

__all__ = ["Estimate", "draws_needed", "mean_rule", "tail_rule", "zero_failure_rule"]
