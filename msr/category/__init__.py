"""Finite categories as tables: presheaves, the Yoneda lemma, Kan extensions, and what prompting and fine tuning can do.

The theory is that of Yuan, "On the Power of Foundation Models" (ICML 2023), made computable on finite categories.
"""

from msr.category.categories.constructors import action_groupoid as action_groupoid
from msr.category.categories.constructors import discrete as discrete
from msr.category.categories.constructors import disjoint_union as disjoint_union
from msr.category.categories.constructors import from_group as from_group
from msr.category.categories.constructors import from_monoid as from_monoid
from msr.category.categories.constructors import from_poset as from_poset
from msr.category.categories.constructors import from_quiver_paths as from_quiver_paths
from msr.category.categories.constructors import full_subcategory as full_subcategory
from msr.category.categories.constructors import product as product
from msr.category.categories.functors import Functor as Functor
from msr.category.categories.functors import identity_functor as identity_functor
from msr.category.categories.tables import FinCat as FinCat
from msr.category.linear import LinearTransformations as LinearTransformations
from msr.category.linear import VectFunctor as VectFunctor
from msr.category.linear import linear_functor as linear_functor
from msr.category.linear import linear_transformations as linear_transformations
from msr.category.linear import linearised as linearised
from msr.category.pretexts.ideality import Ideality as Ideality
from msr.category.pretexts.ideality import Surrogate as Surrogate
from msr.category.pretexts.ideality import contexture_tail as contexture_tail
from msr.category.pretexts.ideality import ideality_score as ideality_score
from msr.category.pretexts.ideality import index_column_features as index_column_features
from msr.category.pretexts.ideality import index_column_product as index_column_product
from msr.category.pretexts.ideality import row_column_features as row_column_features
from msr.category.pretexts.ideality import surrogate as surrogate
from msr.category.pretexts.pretext import Masks as Masks
from msr.category.pretexts.pretext import Rotations as Rotations
from msr.category.pretexts.pretext import hom_table as hom_table
from msr.category.pretexts.pretext import masked_completions as masked_completions
from msr.category.pretexts.pretext import next_tokens as next_tokens
from msr.category.pretexts.pretext import positive_pairs as positive_pairs
from msr.category.pretexts.pretext import rotation_prediction as rotation_prediction
from msr.category.pretexts.pretext_tables import PretextTable as PretextTable
from msr.category.pretexts.transfer import PairedProblem as PairedProblem
from msr.category.pretexts.transfer import Transfer as Transfer
from msr.category.pretexts.transfer import paired_problem as paired_problem
from msr.category.pretexts.transfer import structure_transfer as structure_transfer
from msr.category.sets.elements import category_of_elements as category_of_elements
from msr.category.sets.enumeration import functor_classes as functor_classes
from msr.category.sets.enumeration import functor_transformations as functor_transformations
from msr.category.sets.enumeration import functors_between as functors_between
from msr.category.sets.enumeration import labelled_presheaves as labelled_presheaves
from msr.category.sets.enumeration import presheaf_classes as presheaf_classes
from msr.category.sets.isomorphisms import is_isomorphic as is_isomorphic
from msr.category.sets.isomorphisms import isomorphism as isomorphism
from msr.category.sets.marks import coset_moves as coset_moves
from msr.category.sets.marks import count_group_sets as count_group_sets
from msr.category.sets.marks import group_sets as group_sets
from msr.category.sets.marks import orbit_presheaf as orbit_presheaf
from msr.category.sets.marks import orbit_sizes as orbit_sizes
from msr.category.sets.marks import table_of_marks as table_of_marks
from msr.category.sets.natural_transformations import Nat as Nat
from msr.category.sets.natural_transformations import count_transformations as count_transformations
from msr.category.sets.natural_transformations import identity_transformation as identity_transformation
from msr.category.sets.natural_transformations import transformation_table as transformation_table
from msr.category.sets.natural_transformations import transformations as transformations
from msr.category.sets.presheaves import CoPresheaf as CoPresheaf
from msr.category.sets.presheaves import Presheaf as Presheaf
from msr.category.sets.presheaves import SetFunctor as SetFunctor
from msr.category.sets.representability import is_representable as is_representable
from msr.category.sets.representability import representing_objects as representing_objects
from msr.category.sets.representability import universal_elements as universal_elements
from msr.category.sets.set_functors import action_copresheaf as action_copresheaf
from msr.category.sets.set_functors import action_presheaf as action_presheaf
from msr.category.sets.set_functors import constant as constant
from msr.category.sets.set_functors import constant_copresheaf as constant_copresheaf
from msr.category.sets.set_functors import corepresentable as corepresentable
from msr.category.sets.set_functors import on_inverses as on_inverses
from msr.category.sets.set_functors import on_opposite as on_opposite
from msr.category.sets.set_functors import representable as representable
from msr.category.sets.set_functors import restricted as restricted
from msr.category.sets.subfunctors import Classifier as Classifier
from msr.category.sets.subfunctors import count_subfunctors as count_subfunctors
from msr.category.sets.subfunctors import list_subfunctors as list_subfunctors
from msr.category.sets.subfunctors import sieve_counts as sieve_counts
from msr.category.sets.subfunctors import subobject_classifier as subobject_classifier
from msr.category.sets.yoneda import ideal_error as ideal_error
from msr.category.sets.yoneda import yoneda_arrow as yoneda_arrow
from msr.category.sets.yoneda import yoneda_counts as yoneda_counts
from msr.category.sets.yoneda import yoneda_element as yoneda_element
from msr.category.sets.yoneda import yoneda_is_ideal as yoneda_is_ideal
from msr.category.sets.yoneda import yoneda_table as yoneda_table
from msr.category.sets.yoneda import yoneda_transformation as yoneda_transformation
from msr.category.squares.naturality import naturality_error as naturality_error
from msr.category.squares.partial_maps import PartialMap as PartialMap
from msr.category.squares.squares_of_sets import Violations as Violations
from msr.category.squares.windows import Windows as Windows
from msr.category.squares.windows import window_category as window_category
from msr.category.universal.embedding import Embedding as Embedding
from msr.category.universal.embedding import embedding_of as embedding_of
from msr.category.universal.kan import Coend as Coend
from msr.category.universal.kan import LinearCoend as LinearCoend
from msr.category.universal.kan import extended_transformation as extended_transformation
from msr.category.universal.kan import extension_along as extension_along
from msr.category.universal.kan import extension_table as extension_table
from msr.category.universal.kan import kan_extension as kan_extension
from msr.category.universal.kan import linear_kan_extension as linear_kan_extension
from msr.category.universal.limits import Cones as Cones
from msr.category.universal.limits import colimit as colimit
from msr.category.universal.limits import colimits_of as colimits_of
from msr.category.universal.limits import cones as cones
from msr.category.universal.limits import limit as limit
from msr.category.universal.limits import limits_of as limits_of
from msr.category.universal.prompting import FineTuning as FineTuning
from msr.category.universal.prompting import Prompting as Prompting
from msr.category.universal.prompting import PromptPower as PromptPower
from msr.category.universal.prompting import best_prompts as best_prompts
from msr.category.universal.prompting import fine_tuning as fine_tuning
from msr.category.universal.prompting import prompt_power as prompt_power
from msr.category.universal.prompting import solves_naturally as solves_naturally
from msr.category.universal.prompting import solves_pointwise as solves_pointwise

__all__ = [
    "CoPresheaf", "FinCat", "Functor", "Nat", "Presheaf", "SetFunctor", "VectFunctor",
    "action_groupoid", "discrete", "disjoint_union", "from_group", "from_monoid", "from_poset", "from_quiver_paths",
    "full_subcategory", "identity_functor", "product",
    "functor_classes", "functor_transformations", "functors_between", "labelled_presheaves", "presheaf_classes",
    "action_copresheaf", "action_presheaf", "constant", "constant_copresheaf", "corepresentable", "on_inverses",
    "on_opposite", "representable", "restricted",
    "category_of_elements", "count_transformations", "identity_transformation", "is_isomorphic", "isomorphism",
    "transformation_table", "transformations",
    "LinearTransformations", "linear_functor", "linear_transformations", "linearised",
    "ideal_error", "yoneda_arrow", "yoneda_counts", "yoneda_element", "yoneda_is_ideal", "yoneda_table",
    "yoneda_transformation",
    "is_representable", "representing_objects", "universal_elements",
    "Coend", "LinearCoend", "extended_transformation", "extension_along", "extension_table", "kan_extension",
    "linear_kan_extension",
    "Embedding", "embedding_of",
    "Cones", "colimit", "colimits_of", "cones", "limit", "limits_of",
    "Classifier", "count_subfunctors", "list_subfunctors", "sieve_counts", "subobject_classifier",
    "coset_moves", "count_group_sets", "group_sets", "orbit_presheaf", "orbit_sizes", "table_of_marks",
    "FineTuning", "PromptPower", "Prompting", "best_prompts", "fine_tuning", "prompt_power", "solves_naturally",
    "solves_pointwise",
    "Ideality", "Surrogate", "contexture_tail", "ideality_score", "index_column_features", "index_column_product",
    "row_column_features", "surrogate", "naturality_error", "PartialMap", "Masks", "Rotations", "hom_table",
    "masked_completions", "next_tokens", "positive_pairs", "rotation_prediction", "PretextTable", "Violations",
    "PairedProblem", "Transfer", "paired_problem", "structure_transfer", "Windows", "window_category",
]  # fmt: skip
