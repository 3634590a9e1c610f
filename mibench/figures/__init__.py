"""Figures of results, in one style; what is imported here is what a user calls."""

from mibench.figures.all_figures import all_figures, defended, file_name, of_pools, published
from mibench.figures.conflicts import conflict_matrix, ranks, two_views
from mibench.figures.cost import accuracy_against_cost, costed
from mibench.figures.defences import defences
from mibench.figures.effects import effect_table
from mibench.figures.factors import by_factor, four_metrics
from mibench.figures.groups import against_differential, by_change, over_groups, pool_distances
from mibench.figures.panels import PANELS, six_panels
from mibench.figures.ranking import critical_difference, heat_map, rank, ranked_values
from mibench.figures.scenario import class_thresholds, distances, roc, scores
from mibench.figures.style import Picture, attack_style, chosen, save, show, style
from mibench.look import Look
