"""What every room stands on: settings, clock, errors, locks, the warehouse file, publishing.

Imports none of the rooms and no dagster.
"""
