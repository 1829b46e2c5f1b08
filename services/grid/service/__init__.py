"""The use cases. One method is one unit of work."""
