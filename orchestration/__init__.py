"""Dagster and the command line: thin wrappers around what the other rooms declare, nothing else."""
