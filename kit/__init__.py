"""What every service of Hetao stands on: units of work, events, timers, RPCs, storage. Knows no domain word and no service."""

import os

# gRPC's handlers of fork() run in the child, among threads that are not there, and have crashed it before it could become PostgreSQL.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
