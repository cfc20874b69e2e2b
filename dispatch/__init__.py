"""How a CR's workflow is named, started and signalled, by whoever saw a change."""
