"""Every statement of the service: `cases` for the chain, `figures` for the counted read model."""
