"""The rules of the service, pure."""
