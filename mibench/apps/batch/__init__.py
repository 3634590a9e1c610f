"""Batches: parameter files run as papermill notebooks, and what they need trained first."""
