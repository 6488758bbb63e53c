"""Learning problems: data, signature, contract, loss, metrics and baselines, one a file; and protocols that measure untrained networks."""

from torsor.registry import Entry, Registry

REGISTRY = Registry(
    "task",
    Entry(
        "nbody",
        "torsor.tasks.nbody:NBodyConfig",
        "where particles go: charged bodies, or planets around a star",
        "SE(3)-Transformers (2020)",
    ),
    Entry("molecules", "torsor.tasks.molecules:MoleculesConfig", "energies, forces or properties of molecules", "rMD17 (2020), QM9 (2014)"),
    Entry("qm9", "torsor.tasks.molecules:QM9Config", "twelve properties of 130,831 small molecules, or of a part of them", "QM9 (2014)"),
    Entry(
        "constellation",
        "torsor.tasks.constellation:ConstellationConfig",
        "how many triangles, squares, pentagons and Ls are among points of the plane",
        "LieTransformer (2021)",
    ),
    Entry(
        "springs",
        "torsor.tasks.springs:SpringsConfig",
        "the motion of particles on springs, or of planets, from a learned energy or without one",
        "LieConv (2020), LieTransformer (2021)",
    ),
    Entry(
        "toptagging",
        "torsor.tasks.toptagging:TopTaggingConfig",
        "top quarks against partons among jets of particles",
        "Top Tagging reference set (2019)",
    ),
    Entry(
        "shapes3d",
        "torsor.tasks.shapes3d:Shapes3DConfig",
        "classes of objects from points on their surfaces, upright or turned",
        "SE(3)-Transformers (2020), ScanObjectNN (2019)",
    ),
    Entry(
        "geometry-toys",
        "torsor.tasks.geometry_toys:GeometryToysConfig",
        "distances, translations and connections of points, with known answers",
        "Geometric Algebra Transformer (2023)",
    ),
    Entry(
        "exp-classify",
        "torsor.tasks.exp_classify:ExpClassifyConfig",
        "satisfiable formulas, from graphs that message passing does not tell apart",
        "GNNs with random node initialization (2021)",
    ),
    Entry(
        "pattern",
        "torsor.tasks.pattern:PatternConfig",
        "nodes of a pattern that is hidden in a stochastic block model",
        "Benchmarking graph neural networks (2020)",
    ),
    Entry(
        "tilted",
        "torsor.tasks.tilted:TiltedConfig",
        "where charged bodies go in a field that breaks the symmetry as strongly as you like",
    ),
    Entry(
        "invariant-regression",
        "torsor.tasks.invariant_regression:InvariantRegressionConfig",
        "a function of the lengths and the angle of two vectors, and of where they point as strongly as you like",
        "EMLP (2021), Symmetry From Scratch (2024)",
    ),
    Entry(
        "inertia",
        "torsor.tasks.inertia:InertiaConfig",
        "the moment of inertia of five bodies, with an addition that does not turn with them",
        "EMLP (2021), Symmetry From Scratch (2024)",
    ),
    Entry(
        "digits",
        "torsor.tasks.digits:DigitsConfig",
        "digits anywhere on a torus, whose place changes the label as often as you like",
        "Symmetry From Scratch (2024)",
    ),
    Entry(
        "peptides-func",
        "torsor.tasks.peptides:PeptidesFuncConfig",
        "functions of peptides, or labels that depend on residues far apart",
        "Long Range Graph Benchmark (2022)",
    ),
    Entry(
        "peptides-struct",
        "torsor.tasks.peptides:PeptidesStructConfig",
        "shapes of peptides, or numbers that depend on residues far apart",
        "Long Range Graph Benchmark (2022)",
    ),
    Entry(
        "pcqm-contact",
        "torsor.tasks.peptides:PcqmContactConfig",
        "atoms that touch though they are bonds apart",
        "Long Range Graph Benchmark (2022)",
    ),
    Entry("arrays", "torsor.tasks.arrays:ArraysConfig", "your own arrays, with a TOML file that names the columns"),
)
"""Every task: its configuration class, whose `build()` makes the task."""

PROTOCOLS = Registry(
    "protocol",
    Entry(
        "graph-separation",
        "torsor.tasks.graph_separation:SeparationConfig",
        "pairs of graphs that untrained networks tell apart, with the control",
        "Breaking the limits of message passing GNNs (2021)",
    ),
)
"""Every measurement of untrained networks: its configuration class, whose `build()` makes the protocol."""
