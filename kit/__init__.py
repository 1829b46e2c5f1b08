"""What every service of Hetao stands on: units of work, events, timers, RPCs, storage. Knows no domain word and no service."""
