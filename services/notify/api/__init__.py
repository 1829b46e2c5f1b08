"""gRPC servicers of the service: proto ⇄ domain, and nothing else."""
