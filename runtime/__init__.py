"""What both processes need to run: settings, connections, logs, and the HTTP pages that probes and Prometheus read."""
