"""The notation of groups, representations and contexts in words, for help texts. It imports nothing: help is quick."""

__all__ = ["CONTEXTS", "GROUPS", "REPRESENTATIONS"]

GROUPS = "cN, dN, sN, aN, qN (N elements), fP:Q (Frobenius: P prime, Q divides P - 1); products c4xc4, wreaths s3wrc2"
"""The notation of groups."""

REPRESENTATIONS = (
    "regular; natural; trivial or trivial:K; for images grid:N or grid:NxM (turns for c4, half turns for c2, and flips "
    "for d4 or d2), mirror:N or mirror:NxM (left and right, for c2), flipud:N or flipud:NxM (up and down, for c2) and "
    "shifts:N or shifts:NxM; for signals reverse:N (for c2) and shifts:N; K*X for K copies of X, X+Y for both side by "
    "side"
)
"""The notation of representations."""

CONTEXTS = """\
knn:K            one of the K nearest rows
rbf:auto         a near row, by exp(−γ distance²); rbf:G for γ = G; auto: 4 over the median squared distance
mask:P           each column is hidden with chance P, then a row near in the others, as rbf:auto
labels           the target as labels of classes
target           the target as a number, or numbers
group:G:ACTS     an element of a group moves the columns, then a near row as rbf:auto; group:d4:grid:8
A * B            B after A        (weaker than both)
A + B            A or B, and which one is known
A & B            A and B at once  (stronger than both)"""
"""The notation of contexts of a table's rows."""
