"""The public names, frozen: adding or removing one is a decision, and a changelog line."""

import importlib

import pytest

SURFACE = {
    "msr": [
        "Episodes", "Estimate", "__version__",
    ],
    "msr.sharing": [
        "Convolution", "DenseSharing", "GroupSharing", "KroneckerSharing", "PathCost", "Sharing", "SharingFactory",
    ],
    "msr.layers": [
        "Coverage", "LeftAlone", "LeftAloneWarning", "ReparamConv1d", "ReparamConv2d", "ReparamConv3d",
        "ReparamConvTranspose1d", "ReparamConvTranspose2d", "ReparamConvTranspose3d", "ReparamLayer", "ReparamLinear",
        "Reparameterized", "ResidualWarning", "calibrate", "coverage", "fold", "reparameterize",
    ],
    "msr.meta": [
        "Batching", "ClassMeans", "Engine", "FunctionalModule", "GaussNewton", "InTurn", "InnerSolver", "Learner",
        "MetaGradient", "MetaParameters", "OuterLoop", "Params", "Problem", "Ridge", "RidgeHead", "SGD", "evaluate",
        "from_module", "load_params",
    ],
    "msr.span": [
        "Chunks", "RankCut", "SharedSpan", "SpectralStart", "find_span", "in_chunks", "orthonormal_basis", "patches",
        "principal_cosines", "span_cosine", "spectral_start",
    ],
    "msr.groups": [
        "FiniteGroup", "Group", "LieAlgebra", "MAX_ORDER", "MatrixGroup", "PermutationGroup", "ProductGroup",
        "Subgroup", "alternating", "cyclic", "dihedral", "direct_product", "euclidean", "frobenius",
        "from_permutations", "from_table", "general_linear", "general_lorentz", "lorentz", "orthogonal", "quaternion",
        "real_form", "se2", "se3", "semidirect_product", "so", "special_linear", "special_unitary", "symmetric",
        "symplectic", "trivial", "unitary", "wreath_product",
    ],
    "msr.groups.naming": [
        "Action", "GroupName", "name_group",
    ],
    "msr.representations": [
        "AnyRepresentation", "CharacterTable", "EquivariantBasis", "GeneratedRepresentation", "IsotypicPart",
        "LieRepresentation", "Representation", "SymmetricCharacters", "character_table", "copies", "defining",
        "direct_sum", "equivariant_basis", "from_matrices", "grid_reflections", "grid_rotations", "grid_shifts",
        "group_convolution", "intertwiner_dimension", "irrep", "isotypic_parts", "lift", "multiplicities", "natural",
        "outer_product", "pair_orbits", "permutation", "planar", "quotient", "regular", "sign",
        "symmetric_characters", "tensor_product", "trivial",
    ],
    "msr.representations.commutant": [
        "Commutant", "Continuous", "commutant", "continuous", "skew_pairs",
    ],
    "msr.representations.notation": [
        "GROUPS", "MOST_POINTS", "REPRESENTATIONS", "parse_group", "parse_representation",
    ],
    "msr.contexture": [
        "Context", "GroupContext", "JointContext", "KernelContext", "PoolContext", "SamplerContext", "Spectrum",
        "TableContext", "convex", "convolve", "extend", "joint", "parse_context", "spectrum",
    ],
    "msr.contexture.estimator": [
        "ContextureEncoder",
    ],
    "msr.contexture.learning": [
        "Learned", "Network", "Schedule", "learn", "perceptron",
    ],
    "msr.contexture.measures": [
        "Captured", "Usefulness", "ValueIntervals", "captured", "compatibility", "mutual_neighbours", "principal_angle",
        "probe_error", "squared_correlation", "trace_gap", "trace_gap_bound", "usefulness", "value_intervals",
        "worst_error", "worst_error_bound",
    ],
    "msr.contexture.objectives": [
        "KISE", "LowRank", "Moments", "NonContrastive", "Objective", "SVME", "SpectralContrastive", "VICSurrogate",
        "balanced_regression", "balanced_regression_optimum", "batch_moments", "exact_moments", "exact_pair_moments",
        "kernel_batch_moments", "pair_batch_moments",
    ],
    "msr.contexture.comparison": [
        "Judged", "compared", "known_share",
    ],
    "msr.flow": [
        "AttentionFlow", "FeatureGroup", "LieDimension", "Mlp", "PhaseDiagram", "SchemePath", "Staircase", "TokenGroup",
        "causal_bias", "cluster_counts", "cluster_labels", "critical_cosine", "critical_exponent", "critical_limit",
        "energy_rate", "equiangular_path", "equiangular_rate", "equiangular_time", "feature_group", "hemisphere_margin",
        "hemisphere_pole", "inverse_participation", "is_two_closed", "late_decay", "late_rate", "lie_dimension",
        "mean_cosine", "mean_rate", "merged_share", "merging_time", "mode_number", "mode_rates", "noether_matrix",
        "on_sphere", "phase_diagram", "scheme_path", "scheme_rate", "staircase", "support_function", "token_group",
        "turning", "two_closure", "two_cluster_path", "two_cluster_rate", "uniform_on_sphere", "usa_step", "wendel",
    ],
    "msr.flow.network": [
        "BlockWeights", "DepthCurve", "FeedForward", "NetworkPath", "STATE_NAMES", "StateNames", "TokenNorm", "follow",
        "read_block", "read_blocks", "read_state",
    ],
    "msr.tables": [
        "Table", "read_table",
    ],
    "msr.category": [
        "Classifier", "CoPresheaf", "Coend", "Cones", "Embedding", "FinCat", "FineTuning", "Functor", "Ideality",
        "LinearCoend", "LinearTransformations", "Masks", "Nat", "PairedProblem", "PartialMap", "Presheaf",
        "PretextTable", "PromptPower", "Prompting", "Rotations", "SetFunctor", "Surrogate", "Transfer", "VectFunctor",
        "Violations", "Windows", "action_copresheaf", "action_groupoid", "action_presheaf", "best_prompts",
        "category_of_elements", "colimit", "colimits_of", "cones", "constant", "constant_copresheaf", "contexture_tail",
        "corepresentable", "coset_moves", "count_group_sets", "count_subfunctors", "count_transformations", "discrete",
        "disjoint_union", "embedding_of", "extended_transformation", "extension_along", "extension_table",
        "fine_tuning", "from_group", "from_monoid", "from_poset", "from_quiver_paths", "full_subcategory",
        "functor_classes", "functor_transformations", "functors_between", "group_sets", "hom_table", "ideal_error",
        "ideality_score", "identity_functor", "identity_transformation", "index_column_features",
        "index_column_product", "is_isomorphic", "is_representable", "isomorphism", "kan_extension",
        "labelled_presheaves", "limit", "limits_of", "linear_functor", "linear_kan_extension", "linear_transformations",
        "linearised", "list_subfunctors", "masked_completions", "naturality_error", "next_tokens", "on_inverses",
        "on_opposite", "orbit_presheaf", "orbit_sizes", "paired_problem", "positive_pairs", "presheaf_classes",
        "product", "prompt_power", "representable", "representing_objects", "restricted", "rotation_prediction",
        "row_column_features", "sieve_counts", "solves_naturally", "solves_pointwise", "structure_transfer",
        "subobject_classifier", "surrogate", "table_of_marks", "transformation_table", "transformations",
        "universal_elements", "window_category", "yoneda_arrow", "yoneda_counts", "yoneda_element", "yoneda_is_ideal",
        "yoneda_table", "yoneda_transformation",
    ],
    "msr.equivariance": [
        "Auto", "Certificate", "Defects", "EquivarianceWarning", "Exact", "LayerDefects", "Mean", "NetworkCertificate",
        "Specificity", "Tail", "Turning", "ZeroFailure", "assert_equivariant", "certify", "certify_network",
        "equivariance_error", "interior", "localise", "parametrize_elements", "pattern_error", "specificity",
        "turn_images", "turning_error", "weight_error",
    ],
    "msr.equivariance.strategies": [
        "group_elements", "groups", "points", "representations",
    ],
    "msr.statistics": [
        "Estimate", "Mean", "Outcome", "Tail", "ZeroFailure", "draws_needed",
    ],
    "msr.kron": [
        "apply_factors", "is_identity", "kron", "nearest_kronecker", "pinv", "solve_factors", "unvec", "vec",
    ],
    "msr.permutations": [
        "Automorphisms", "Indices", "automorphisms", "check_permutation_action", "cycle_lengths", "cycles",
        "inverse_of", "orbit_labels", "orbit_mean_errors", "orbit_means", "orbitals", "parity_of", "power_of",
        "relabelled_orbitals", "reynolds_operator",
    ],
    "msr.episodes": [
        "Episodes",
    ],
    "msr.discovery": [
        "Candidate", "Discovery", "GroupCertificate", "PartialSymmetry", "discover",
    ],
    "msr.files": [
        "Write", "append_line", "refuse_inputs", "write_together", "write_whole",
    ],
    "msr.tasks": [
        "AttentionTasks", "AttentionTruth", "FileTasks", "FiniteGroupTasks", "HiddenFeatures", "KeptTasks",
        "LinearTasks", "Sample", "SpanTasks", "Split", "TaskFamily", "TokenScores", "Truth", "almost_symmetry",
        "attention_controls", "broken_span", "broken_symmetry", "generator_for", "hidden_features", "interior_symmetry",
        "locally_connected_weight", "no_symmetry", "read_arrays", "sample_group", "sample_translation",
        "span_of_filters", "token_scores", "write_tasks", "wrong_symmetry",
    ],
    "msr.tasks.controls": [
        "SpanTasks", "almost_symmetry", "broken_span", "broken_symmetry", "interior_symmetry", "no_symmetry",
        "random_span", "wrong_symmetry",
    ],
    "msr.tasks.files": [
        "FileTasks", "read_arrays", "write_tasks",
    ],
    "msr.tasks.finite_group": [
        "FiniteGroupTasks", "Truth",
    ],
    "msr.tasks.locally_connected": [
        "convolution_span", "locally_connected_weight", "span_of_filters",
    ],
    "msr.tasks.sampling": [
        "MOST_DRAWN", "Sample", "sample_group", "sample_translation",
    ],
    "msr.report": [
        "format_table",
    ],
    "msr.report.figures": [
        "bars", "curves", "fields", "matrices", "points", "rates", "require", "scaling", "sharing_strength",
        "span_cosines",
    ],
    "tasks": [
        "ImageTasks", "RotationTasks", "TranslationTasks",
    ],
    "tasks.augmentation": [
        "Augmentation", "N_RANDOM", "augment", "augmented", "turn_and_flip",
    ],
    "tasks.images": [
        "ImageSet", "ImageTasks", "digits",
    ],
    "tasks.mini_imagenet": [
        "read_mini_imagenet",
    ],
    "tasks.omniglot": [
        "download_omniglot", "read_omniglot", "read_one_shot_runs",
    ],
    "tasks.networks": [
        "conv4", "convolutions_of_conv4", "head_of_conv4",
    ],
    "tasks.rotation": [
        "GROUPS", "RotationTasks", "condensed", "read_filters", "rotation_defect",
    ],
    "tasks.translation": [
        "Boundary", "TranslationTasks",
    ],
}  # fmt: skip


@pytest.mark.parametrize("module", SURFACE)
def test_public_names(module):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == SURFACE[module]
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_the_error_family():
    import msr.errors

    kinds = {name for name, thing in vars(msr.errors).items() if isinstance(thing, type)}
    assert kinds == {
        "MSRError", "AxiomError", "ShapeError", "DataError", "ConfigError", "ModelError", "NonFiniteError",
        "MissingExtraError", "PrecisionError", "ProcessError",
    }  # fmt: skip
    assert all(issubclass(getattr(msr.errors, name), msr.errors.MSRError) for name in kinds)


@pytest.mark.parametrize("module", SURFACE)
def test_public_things_say_what_they_are(module):
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith(("msr", "tasks")):
            assert thing.__doc__, f"{module}.{name} has no docstring"
