"""From the groups that teaching tasks propose to a verdict: evidence of testing tasks, rule, certificate, doubts."""
