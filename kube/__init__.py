"""The only code that speaks to the Kubernetes API. Its own errors come out, the HTTP library's do not."""
