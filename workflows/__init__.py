"""One module per durable story. Workflows decide; everything that touches the world is an activity."""
