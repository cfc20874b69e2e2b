"""What performance claims rest on: each prints both sides, or the distribution, on the machine it runs on."""
