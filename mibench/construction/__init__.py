"""Construction of a scenario's target dataset from the pool of one target model.

Two ways: :mod:`mibench.construction.groups` as the published benchmark made its target datasets,
and :mod:`mibench.construction.pairs`.
"""
