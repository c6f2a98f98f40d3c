"""A pretend lender and stand-ins of its vendors, for demo and tests.

Nothing the product runs imports this room: it is reached over the network, or as a database, as
the real vendors are. `world` holds the lender; the other modules speak the vendors' wire formats.
"""
