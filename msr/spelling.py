"""The notation of groups and representations in words, for help texts: it imports nothing, so that help is quick."""

__all__ = ["GROUPS", "REPRESENTATIONS"]

GROUPS = "cN, dN, sN, aN, qN (N elements), fP:Q (Frobenius: P prime, Q divides P - 1); products c4xc4, wreaths s3wrc2"
"""The notation of groups."""

REPRESENTATIONS = (
    "regular; natural; trivial or trivial:K; for images grid:N or grid:NxM (turns for c4, half turns for c2, and flips "
    "for d4 or d2), mirror:N or mirror:NxM (left and right, for c2), flipud:N or flipud:NxM (up and down, for c2) and "
    "shifts:N or shifts:NxM; for signals reverse:N (for c2) and shifts:N; K*X for K copies of X, X+Y for both side by "
    "side"
)
"""The notation of representations."""
