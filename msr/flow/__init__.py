"""Attention as a flow: tokens that move as the layers of a transformer move them, and what is exactly known of it."""

from msr.flow.clustering.clusters import cluster_counts as cluster_counts
from msr.flow.clustering.clusters import cluster_labels as cluster_labels
from msr.flow.clustering.clusters import mean_cosine as mean_cosine
from msr.flow.clustering.clusters import merged_share as merged_share
from msr.flow.clustering.phases import PhaseDiagram as PhaseDiagram
from msr.flow.clustering.phases import phase_diagram as phase_diagram
from msr.flow.clustering.stairs import Staircase as Staircase
from msr.flow.clustering.stairs import staircase as staircase
from msr.flow.dynamics.attention_flow import AttentionFlow as AttentionFlow
from msr.flow.dynamics.balances import energy_rate as energy_rate
from msr.flow.dynamics.balances import hemisphere_margin as hemisphere_margin
from msr.flow.dynamics.balances import hemisphere_pole as hemisphere_pole
from msr.flow.dynamics.balances import mean_rate as mean_rate
from msr.flow.dynamics.balances import noether_matrix as noether_matrix
from msr.flow.dynamics.balances import support_function as support_function
from msr.flow.dynamics.balances import turning as turning
from msr.flow.dynamics.masks import causal_bias as causal_bias
from msr.flow.dynamics.mlp import Mlp as Mlp
from msr.flow.dynamics.sphere import on_sphere as on_sphere
from msr.flow.dynamics.sphere import uniform_on_sphere as uniform_on_sphere
from msr.flow.dynamics.steppers import usa_step as usa_step
from msr.flow.symmetries.closures import is_two_closed as is_two_closed
from msr.flow.symmetries.closures import two_closure as two_closure
from msr.flow.symmetries.feature_groups import FeatureGroup as FeatureGroup
from msr.flow.symmetries.feature_groups import feature_group as feature_group
from msr.flow.symmetries.lie_dimensions import LieDimension as LieDimension
from msr.flow.symmetries.lie_dimensions import lie_dimension as lie_dimension
from msr.flow.symmetries.token_groups import TokenGroup as TokenGroup
from msr.flow.symmetries.token_groups import token_group as token_group
from msr.flow.theory.critical_scaling import critical_cosine as critical_cosine
from msr.flow.theory.critical_scaling import critical_exponent as critical_exponent
from msr.flow.theory.critical_scaling import critical_limit as critical_limit
from msr.flow.theory.critical_scaling import inverse_participation as inverse_participation
from msr.flow.theory.equiangular import equiangular_path as equiangular_path
from msr.flow.theory.equiangular import equiangular_rate as equiangular_rate
from msr.flow.theory.equiangular import equiangular_time as equiangular_time
from msr.flow.theory.equiangular import late_rate as late_rate
from msr.flow.theory.hemispheres import wendel as wendel
from msr.flow.theory.modes import mode_number as mode_number
from msr.flow.theory.modes import mode_rates as mode_rates
from msr.flow.theory.schemes import SchemePath as SchemePath
from msr.flow.theory.schemes import late_decay as late_decay
from msr.flow.theory.schemes import scheme_path as scheme_path
from msr.flow.theory.schemes import scheme_rate as scheme_rate
from msr.flow.theory.two_clusters import merging_time as merging_time
from msr.flow.theory.two_clusters import two_cluster_path as two_cluster_path
from msr.flow.theory.two_clusters import two_cluster_rate as two_cluster_rate

__all__ = [
    "AttentionFlow", "FeatureGroup", "LieDimension", "Mlp", "PhaseDiagram", "SchemePath", "Staircase", "TokenGroup",
    "causal_bias", "cluster_counts", "cluster_labels", "critical_cosine", "critical_exponent", "critical_limit",
    "energy_rate", "equiangular_path", "equiangular_rate", "equiangular_time", "feature_group", "hemisphere_margin",
    "hemisphere_pole", "inverse_participation", "is_two_closed", "late_decay", "late_rate", "lie_dimension",
    "mean_cosine", "mean_rate", "merged_share", "merging_time", "mode_number", "mode_rates", "noether_matrix",
    "on_sphere", "phase_diagram", "scheme_path", "scheme_rate", "staircase", "support_function", "token_group",
    "turning", "two_closure", "two_cluster_path", "two_cluster_rate", "uniform_on_sphere", "usa_step", "wendel",
]  # fmt: skip
