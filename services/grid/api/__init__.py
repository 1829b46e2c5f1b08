"""Messages to and from the domain. No rules, no SQL."""
