"""trusted -> people: audiences and rules over what is published, their delivery, operational state.

What belongs here: what is decided about trusted data and how it reaches people, definitions included.
What does not: building the data, and Dagster. Reads only published catalogues, read-only.
"""
