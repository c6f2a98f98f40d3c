"""One file a version, in order; a version that was released never changes."""
