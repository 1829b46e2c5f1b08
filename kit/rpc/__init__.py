"""RPCs: one pipeline behind two transports, a socket and a call in the same process."""
